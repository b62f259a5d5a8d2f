"""An inference request: a JSON header, and behind it the bytes of those tensors that came as bytes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from math import prod
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from policies.payload import InputError, Payload
from serve.problems import RequestError
from serve.protocols import payloads
from serve.protocols.forms import Form, Said, bounded, inflated
from serve.protocols.oip.answer import HEADER_LENGTH, Wanted, accepted, packed_for, written
from serve.protocols.oip.datatypes import DTYPES, ITEM_BYTES, parted
from serve.protocols.oip.metadata import outputs_of
from toolkit.bundle import BundleManifest
from toolkit.model import Answer, Model
from toolkit.runtime.images import MAX_IMAGES
from toolkit.runtime.numbers import numbers, packed
from toolkit.runtime.readers import MAX_TEXTS

__all__ = ["Inference", "read"]

MAX_TENSORS = 64
MAX_DIMENSIONS = 16
MAX_NAME = 256
# strings and objects: the elements of a tensor, and what describes the tensors
MAX_VALUES = MAX_TEXTS + 16 * MAX_TENSORS

Name = Annotated[str, Meta(max_length=MAX_NAME)]
Count = Annotated[int, Meta(ge=0, le=2**31 - 1)]
_NOTHING = msgspec.Raw()


class Parameters(Said, frozen=True, kw_only=True, forbid_unknown_fields=True):
    binary_data_output: bool = False


class InputParameters(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    binary_data_size: Count | UnsetType = UNSET


class Input(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    name: Name
    shape: Annotated[tuple[Count, ...], Meta(max_length=MAX_DIMENSIONS)]
    datatype: Name
    parameters: InputParameters = InputParameters()
    data: msgspec.Raw = _NOTHING

    @property
    def written(self) -> bytes:
        """The data in JSON, or nothing."""
        return bytes(self.data)


class OutputParameters(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    binary_data: bool | UnsetType = UNSET
    classification: Annotated[int, Meta(ge=1, le=2**31 - 1)] | UnsetType = UNSET


class Output(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    name: Name
    parameters: OutputParameters = OutputParameters()


class Header(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A field that is not known is refused: it might be one that was relied on."""

    id: Name | UnsetType = UNSET
    parameters: Parameters = Parameters()
    inputs: Annotated[tuple[Input, ...], Meta(min_length=1, max_length=MAX_TENSORS)]
    outputs: Annotated[tuple[Output, ...], Meta(max_length=MAX_TENSORS)] = ()


class Inference:
    """What a client asks of one model."""

    def __init__(
        self, model: str, version: str | None, header: Header, parts: Sequence[memoryview | None], encoding: str | None
    ) -> None:
        """`parts` are the bytes of each input that came as bytes, `encoding` how the answer may be packed."""
        self.model = model
        self.version = version
        self.said: Mapping[str, Any] = header.parameters.said()
        self._header = header
        self._parts = parts
        self._encoding = encoding

    def payload(self, manifest: BundleManifest) -> Payload:
        """Raises RequestError, InputError."""
        self._check_outputs(manifest)
        match payloads.takes(manifest):
            case "text":
                return payloads.texts([_text(element) for element in self._elements("text", MAX_TEXTS)])
            case "image":
                return payloads.images([_image(element) for element in self._elements("image", MAX_IMAGES)])
            case "tensors":
                inputs = enumerate(self._header.inputs)
                return payloads.tensors({one.name: self._given(number, one) for number, one in inputs}, manifest)

    def written(self, model: Model, answer: Answer) -> tuple[bytes, Mapping[str, str]]:
        """The answer as bytes, and the headers that say how to read them."""
        header, manifest = self._header, model.manifest
        binary = header.parameters.binary_data_output
        wanted = [
            Wanted(
                one.name,
                binary if one.parameters.binary_data is UNSET else one.parameters.binary_data,
                one.parameters.classification or None,
            )
            for one in header.outputs
        ] or [Wanted(one.name, binary) for one in outputs_of(manifest)]
        return packed_for(self._encoding, *written(header.id, wanted, manifest, answer))

    def _check_outputs(self, manifest: BundleManifest) -> None:
        """Before the model runs. Raises RequestError: tensor_output."""
        known = {one.name for one in outputs_of(manifest)}
        for asked in self._header.outputs:
            if asked.name not in known:
                raise RequestError("tensor_output", f"the model gives these outputs: {', '.join(sorted(known))}")
            if asked.parameters.classification is not UNSET and asked.name != "logits":
                raise RequestError("tensor_output", "only logits can be asked for as classes")

    def _elements(self, name: str, most: int) -> Sequence[bytes | str]:
        """Those of the one input of BYTES; as a string where it came in JSON. Raises RequestError, InputError."""
        one = self._header.inputs[0]
        fits = one.name == name and one.datatype == "BYTES" and one.shape[1:] in ((), (1,)) and one.shape
        if not fits or len(self._header.inputs) != 1:
            raise RequestError("tensor_input", f"the model takes one input, {name}: BYTES (n) or (n, 1)")
        count = one.shape[0]
        if count > most:
            raise InputError("input_too_large", f"{name}: {count} elements; at most {most} go into one call")
        if (part := self._parts[0]) is not None:
            return parted(part, count)
        data = bounded(one.written, 2 * most + 1)  # each element may be in a row of its own
        if _NESTED.match(data):
            rows = _ROWS.read(data, "$.inputs[0].data")
            elements = [row[0] for row in rows if len(row) == 1]
            whole = len(elements) == len(rows) and len(one.shape) == 2
        else:
            elements, whole = _ELEMENTS.read(data, "$.inputs[0].data"), True
        if not whole or len(elements) != count:
            raise RequestError("tensor_input", f"{name}: the data have another shape than is said")
        return elements

    def _given(self, number: int, one: Input) -> payloads.Given:
        """The numbers of a tensor, which is named by its place. Raises RequestError, InputError."""
        at, dtype, count = f"inputs[{number}]", DTYPES.get(one.datatype, "object"), prod(one.shape)
        if dtype == "object":
            raise RequestError("tensor_input", f"{at}: the datatype is none of {', '.join(ITEM_BYTES)}")
        if (part := self._parts[number]) is not None:
            if len(part) != count * ITEM_BYTES[one.datatype]:
                raise RequestError("tensor_binary", f"{at} has {len(part)} bytes, not those of its datatype and shape")
            return payloads.Given(dtype, one.shape, part.tobytes())
        array = numbers(one.written, dtype, len(one.shape) or 1, at)
        if array.size != count or array.shape not in (one.shape, (count,)):
            raise RequestError("tensor_input", f"{at}: the data have another shape than is said")
        return payloads.Given(dtype, one.shape, packed(array))


def read(model: str, version: str | None, body: bytes, headers: Mapping[bytes, bytes]) -> Inference:
    """What is asked of a model.

    Raises RequestError: request_encoding, request_too_large, request_malformed, request_type, tensor_binary.
    InputError: input_too_large.
    """
    content = inflated(body, headers)
    length = _header_length(headers, len(content))
    header = _HEADER.read(bounded(content[:length], MAX_VALUES, lists=False))
    for named in (header.inputs, header.outputs):
        if len({one.name for one in named}) != len(named):
            raise RequestError("request_type", "two inputs or two outputs have one name")
    return Inference(model, version, header, _parts(header, memoryview(content)[length:]), accepted(headers))


_HEADER: Form[Header] = Form(
    Header, "id", "parameters", "inputs", "outputs", "name", "shape", "datatype", "data", "binary_data_output",
    "binary_data_size", "binary_data", "classification", *Said.__struct_fields__,
)  # fmt: skip
_ELEMENTS: Form[list[str]] = Form(list[str])
_ROWS: Form[list[list[str]]] = Form(list[list[str]])
_NESTED = re.compile(rb"\s*\[\s*\[")
_LENGTH = re.compile(rb"[0-9]{1,9}")


def _header_length(headers: Mapping[bytes, bytes], size: int) -> int:
    """How many bytes the JSON takes; without a word about it, all. Raises RequestError: tensor_binary."""
    said = headers.get(HEADER_LENGTH)
    if said is None:
        return size
    if not _LENGTH.fullmatch(said) or int(said) > size:
        raise RequestError("tensor_binary", "Inference-Header-Content-Length is no number of bytes in the body")
    return int(said)


def _parts(header: Header, tail: memoryview) -> list[memoryview | None]:
    """The bytes behind the header, one tensor after the other. Raises RequestError: tensor_binary, request_type."""
    parts: list[memoryview | None] = []
    at = 0
    for number, one in enumerate(header.inputs):
        size = one.parameters.binary_data_size
        if (size is UNSET) == (one.data is _NOTHING):
            raise RequestError("request_type", f"inputs[{number}] has either data or a binary_data_size")
        if size is UNSET:
            parts.append(None)
        else:
            parts.append(tail[at : at + size])
            at += size
    if at != len(tail):
        raise RequestError("tensor_binary", f"{len(tail)} bytes stand behind the JSON, the inputs say {at}")
    return parts


def _text(element: bytes | str) -> str:
    if isinstance(element, str):
        return element
    try:
        return element.decode()
    except UnicodeDecodeError:
        raise InputError("input_unicode", "a text is no UTF-8") from None


def _image(element: bytes | str) -> bytes:
    return element if isinstance(element, bytes) else payloads.from_base64(element)
