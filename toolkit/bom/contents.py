"""What a bill of materials tells of a bundle, whatever its format: read from the bundle, and from nothing else.

No clock and no random number: the same bundle gives the same bytes. A bundle names no time, so what a format needs of
times comes from who asks (`Said`).
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

import msgspec
from msgspec import UNSET, Struct, structs

from policies import licences
from policies.facts import Tensor
from policies.licences import Entry, Forebear
from toolkit.bundle import BundleManifest, Described, Measured

__all__ = [
    "Data",
    "Figure",
    "Said",
    "data",
    "figures",
    "identity",
    "limits",
    "methods",
    "models",
    "named",
    "plain",
    "tensor",
    "written",
]

_SPACE = uuid.uuid5(uuid.NAMESPACE_URL, "https://cyclonedx.org/ and https://spdx.org/ from a bundle of sealpress")
_OF_DATA = ("calibration", "training")


class Said(Struct, frozen=True, kw_only=True):
    """What who asks for a bill of materials says beside the bundle: when the document was `created`, when the model was
    `released`, and the address where it can be had; each None where it is not said."""

    created: datetime | None = None
    released: datetime | None = None
    location: str | None = None


class Figure(Struct, frozen=True, kw_only=True):
    """Something that was measured. `slice` names the items, all where it is empty. With `low` and `high` the value is a
    mean, and they bound its two-sided 90 % interval; with `low` alone it is that lower 95 % bound itself."""

    name: str
    value: str
    slice: str = ""
    low: str = ""
    high: str = ""

    @property
    def title(self) -> str:
        """The name, and what the value is of it."""
        if self.high:
            return f"{self.name} (mean, with its two-sided 90 % interval)"
        return f"{self.name} (lower 95 % bound)" if self.low else self.name


class Data(Struct, frozen=True, kw_only=True):
    """A set of items by its digest: what it was used for when the model was pressed ("calibrate", "evaluate"), and its
    entry in the lineage, where it has one."""

    digest: str
    uses: tuple[str, ...]
    forebear: Forebear | None = None


def identity(bundle: Described, said: Said, kind: str) -> uuid.UUID:
    """The name of a document of this kind (RFC 9562, version 5): of the bundle's files and of what was said, and so
    another one for a document that says something else."""
    stated = {name: None if value is None else str(value) for name, value in structs.asdict(said).items()}
    return uuid.uuid5(_SPACE, json.dumps([kind, bundle.digests, stated], sort_keys=True))


def figures(bundle: Described) -> Iterator[Figure]:
    """What was measured before and after pressing, by slices, and of each kind of entity."""
    yield from _measured(bundle.measurements.after, "")
    yield from _measured(bundle.measurements.before, "before pressing: ")
    after, changed = bundle.measurements.after, bundle.modification
    told = {"all", *(() if after.slices is UNSET else (one.name for one in after.slices))}
    for name, low in {} if changed is None else changed.measured.items():
        if name not in told:
            yield _bound("fidelity", low, name)
    entities = bundle.manifest.entities
    for name, found in {} if entities is UNSET else entities.kinds.items():
        for what, share in (("precision", found.precision), ("recall", found.recall)):
            if share is not None:
                yield Figure(name=what, value=plain(share), slice=f"entities of the kind {name}")


def _measured(one: Measured, prefix: str) -> Iterator[Figure]:
    yield _bound(f"{prefix}fidelity", one.fidelity)
    for part in () if one.slices is UNSET else one.slices:
        mean, low, high = (plain(value) for value in (part.mean, part.low, part.high))
        yield Figure(name=f"{prefix}fidelity", value=mean, slice=part.name, low=low, high=high)
    yield Figure(name=f"{prefix}size_bytes", value=plain(one.size_bytes))
    if one.transport_bytes is not UNSET:
        yield Figure(name=f"{prefix}transport_bytes", value=plain(one.transport_bytes))
    yield Figure(name=f"{prefix}latency_ms", value=plain(one.latency_ms))
    for name, value in {} if one.task is UNSET else one.task.items():
        yield Figure(name=f"{prefix}{name}", value=plain(value))


def _bound(name: str, low: float, part: str = "") -> Figure:
    return Figure(name=name, value=plain(low), slice=part, low=plain(low))


def methods(bundle: Described) -> dict[str, str]:
    """How what was measured was found, in words, by the names of the figures."""
    entities = bundle.manifest.entities
    found = {} if entities is UNSET or not entities.method else {"entities": entities.method}
    return dict(sorted((bundle.measurements.method | found).items()))


def limits(manifest: BundleManifest) -> Iterator[str]:
    """What the bundle says of what the model does not take, a sentence each."""
    if manifest.text is not UNSET:
        yield f"It reads at most {manifest.text.max_tokens} tokens of an input."
    if manifest.image is not UNSET:
        yield f"It sees images at {manifest.image.height} by {manifest.image.width} pixels."
    if manifest.entities is not UNSET and manifest.entities.languages:
        yield f"Its papers name these languages: {', '.join(manifest.entities.languages)}."


def models(manifest: BundleManifest) -> tuple[Forebear, ...]:
    """The ancestors that are models, the nearest first."""
    return tuple(one for one in manifest.lineage if one.relation not in _OF_DATA)


def data(manifest: BundleManifest) -> tuple[Data, ...]:
    """The data of the lineage, and that which was calibrated and measured on, each once."""
    uses = {} if manifest.data is UNSET else manifest.data
    found = [
        Data(
            digest=one.digest,
            uses=tuple(use for use, digest in uses.items() if digest == one.digest),
            forebear=one,
        )
        for one in manifest.lineage
        if one.relation in _OF_DATA
    ]
    seen = {one.digest for one in found}
    rest = dict.fromkeys(digest for digest in uses.values() if digest not in seen)
    found += [Data(digest=digest, uses=tuple(use for use, of in uses.items() if of == digest)) for digest in rest]
    return tuple(found)


def named(licence: str) -> Mapping[str, Entry | None]:
    """The identifiers in an SPDX expression, each with its entry in the table of licences, None where it has none."""
    table = licences.entries()
    return {spdx: table.get(spdx) for spdx in licences.members(licence)}


def tensor(one: Tensor) -> str:
    """A tensor in a line, such as "input_ids int64 [batch, tokens]"."""
    return f"{one.name} {one.dtype} [{', '.join(map(str, one.shape))}]"


def plain(value: object) -> str:
    """A value as canonical JSON, a text as it is: the formats take texts only."""
    return value if isinstance(value, str) else msgspec.json.encode(value, order="deterministic").decode()


def written(document: Mapping[str, Any]) -> bytes:
    """The document as JSON in ASCII, so that no terminal and no reader sees characters that steer it."""
    return json.dumps(document, indent=2, ensure_ascii=True).encode() + b"\n"
