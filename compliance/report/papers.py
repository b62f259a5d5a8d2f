"""What the box recorded of a model when it was made ready: the part of it that a reader needs."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from policies.licences import Forebear

__all__ = ["Papers", "papers"]


class _Measured(Struct, frozen=True, kw_only=True):
    size_bytes: Annotated[int, Meta(gt=0)]
    latency_ms: Annotated[float, Meta(gt=0)]
    fidelity: float


class _Measurements(Struct, frozen=True, kw_only=True):
    before: _Measured
    after: _Measured
    machine: str


class _Manifest(Struct, frozen=True, kw_only=True):
    name: str
    version: str
    digest: str
    licence: str
    lineage: tuple[Forebear, ...]
    recipe: tuple[dict[str, Any], ...]


class Papers(Struct, frozen=True, kw_only=True):
    """The manifest, and the measurements before and after pressing: bytes, ms, mean cosine to the original."""

    manifest: _Manifest
    measurements: _Measurements


def papers(data: dict[str, Any]) -> Papers | None:
    """The papers in a record of kind loaded, or None when they cannot be read; then the page says there are none."""
    try:
        return msgspec.convert(data, Papers)
    except msgspec.ValidationError:
        return None
