"""The chain of each model that answered: what it was made from, by what steps, and how it was measured."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, TypeGuard

from msgspec import UNSET

from compliance.evidence.model import Evidence, ModelPapers
from compliance.report.audit.contents import Model, Parent, Quality
from compliance.report.audit.figures import Figure, figure
from compliance.report.audit.served import Served
from compliance.report.wording import plain, step

__all__ = ["models"]

_MEASURES = ("size_bytes", "latency_ms", "fidelity")
_NUMBERS = ("items", "mean", "low", "high")
_MOST_SLICES = 64


def models(evidence: Evidence, found: Served) -> tuple[Model, ...]:
    """Every model that answered, by its digest."""
    papers = {one.digest: one for one in evidence.models}
    made = []
    for digest, (allowed, _) in sorted(found.groups.get("models", {}).items()):
        if not allowed:
            continue
        answered = figure(f"model.{digest}.answered", allowed)
        made.append(_model(digest, papers.get(digest), answered))
    return tuple(made)


def _model(digest: str, papers: ModelPapers | None, answered: Figure) -> Model:
    manifest: Mapping[str, Any] = {} if papers is None else papers.manifest
    parents = tuple(
        Parent(**{name: str(one.get(name, "")) for name in Parent.__struct_fields__})
        for one in manifest.get("lineage", ())
        if isinstance(one, dict)
    )
    return Model(
        name=str(manifest.get("name", "")),
        version=str(manifest.get("version", "")),
        digest=digest,
        licence=str(manifest.get("licence", "")),
        papers=papers is not None,
        parents=parents,
        steps=tuple(step(one) for one in manifest.get("recipe", ()) if isinstance(one, dict)),
        machine="" if papers is None else plain(str(papers.measurements.get("machine", "")), 200),
        answered=answered,
        measured=() if papers is None else tuple(_measured(digest, papers)),
        quality=UNSET if papers is None else tuple(_quality(digest, papers)) or UNSET,
    )


def _measured(digest: str, papers: ModelPapers) -> Iterator[Figure]:
    for when in ("before", "after"):
        values = papers.measurements.get(when)
        for name in _MEASURES:
            value = values.get(name) if isinstance(values, dict) else None
            if _number(value):
                yield Figure(id=f"model.{digest}.{when}.{name}", value=value, leaves=(papers.record,))


def _quality(digest: str, papers: ModelPapers) -> Iterator[Quality]:
    """The slices that the papers have. They are what a box wrote, so that those that are none are left out."""
    after = papers.measurements.get("after")
    slices = after.get("slices") if isinstance(after, dict) else None
    for one in slices[:_MOST_SLICES] if isinstance(slices, list) else ():
        if not isinstance(one, dict):
            continue
        name = plain(str(one.get("name", "")), 100)
        numbers = {
            key: Figure(id=f"model.{digest}.slice.{name}.{key}", value=value, leaves=(papers.record,))
            for key in _NUMBERS
            if _number(value := one.get(key))
        }
        if len(numbers) == len(_NUMBERS):
            yield Quality(slice=name, **numbers)


def _number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)
