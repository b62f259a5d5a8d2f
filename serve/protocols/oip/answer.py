"""An answer as the protocol has it: a JSON header, and behind it the bytes of the outputs that were wanted so."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec
from msgspec import UNSET, UnsetType

from serve.obligations import carried
from serve.protocols.oip.datatypes import DATATYPES, joined
from serve.protocols.oip.metadata import LABEL
from serve.protocols.payloads import label
from toolkit.bundle import BundleManifest
from toolkit.model import Answer
from toolkit.runtime.numbers import packed, ranked

__all__ = ["HEADER_LENGTH", "Wanted", "accepted", "packed_for", "written"]

HEADER_LENGTH = b"inference-header-content-length"
# below it the bytes that are saved are not worth the time
MIN_PACKED = 16_384

_WINDOWS: Final = {"gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}


class Wanted(NamedTuple):
    """An output as a client asked for it: as bytes or in JSON; or not the numbers but the best so many classes."""

    name: str
    binary: bool
    classes: int | None = None


def accepted(headers: Mapping[bytes, bytes]) -> str | None:
    """How the answer may be packed: gzip, deflate, or not at all."""
    offered = headers.get(b"accept-encoding", b"").decode("latin-1").lower().split(",")
    named = {coding.strip(): weight.replace(" ", "") for coding, _, weight in (one.partition(";") for one in offered)}
    refused = ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return next((coding for coding in _WINDOWS if named.get(coding, "q=0") not in refused), None)


def written(
    id_: str | UnsetType, wanted: Sequence[Wanted], manifest: BundleManifest, answer: Answer
) -> tuple[bytes, int | None]:
    """The body, and how long its JSON is where bytes follow. In JSON what is not finite is null."""
    described: list[dict[str, Any]] = []
    parts: list[bytes] = []
    for one in wanted:
        datatype, shape, elements = _output(one, manifest, answer)
        output: dict[str, Any] = {"name": one.name, "datatype": datatype, "shape": shape}
        if one.binary:
            part = joined(map(_utf8, elements)) if datatype == "BYTES" else packed(elements)
            output["parameters"] = {"binary_data_size": len(part)}
            parts.append(part)
        else:
            output["data"] = elements if datatype == "BYTES" else elements.ravel().tolist()
        described.append(output)
    header: dict[str, Any] = {"model_name": manifest.name, "model_version": manifest.version, "outputs": described}
    if said := carried(answer.obligations):
        header["parameters"] = said
    if id_ is not UNSET:
        header["id"] = id_
    json = msgspec.json.encode(header)
    return (b"".join((json, *parts)), len(json)) if parts else (json, None)


def packed_for(encoding: str | None, content: bytes, header_length: int | None) -> tuple[bytes, dict[str, str]]:
    """The body as it is sent, and the headers that say how to read it."""
    headers = {"Content-Type": "application/json" if header_length is None else "application/octet-stream"}
    if header_length is not None:
        headers["Inference-Header-Content-Length"] = str(header_length)
    if encoding is not None and len(content) >= MIN_PACKED:
        packing = zlib.compressobj(1, wbits=_WINDOWS[encoding])
        content = packing.compress(content) + packing.flush()
        headers |= {"Content-Encoding": encoding, "Vary": "Accept-Encoding"}
    return content, headers


def _output(wanted: Wanted, manifest: BundleManifest, answer: Answer) -> tuple[str, Sequence[int], Any]:
    """Datatype, shape, and the elements: an array of numbers, or a list of what are BYTES in the protocol."""
    if wanted.name == LABEL and LABEL not in answer.outputs:
        best, _ = ranked(answer.outputs["logits"], 1)
        return "BYTES", best.shape[:1], [label(manifest, index) for (index,) in best.tolist()]
    array = answer.outputs[wanted.name]
    if wanted.classes is not None:
        best, _ = ranked(array, wanted.classes)
        rows = array.reshape(len(array), -1)
        classes = [
            f"{rows[row, index]:f}:{index}:{label(manifest, index)}"
            for row, indices in enumerate(best.tolist())
            for index in indices
        ]
        return "BYTES", best.shape, classes
    datatype = DATATYPES[str(array.dtype)]
    return datatype, array.shape, list(map(_element, array.ravel().tolist())) if datatype == "BYTES" else array


def _element(element: object) -> str:
    """A text as it is, and what has parts, such as entities, as JSON."""
    match element:
        case str():
            return element
        case bytes():
            return element.decode("utf-8", "replace")
        case _:
            return msgspec.json.encode(element).decode()


def _utf8(text: str) -> bytes:
    return text.encode()
