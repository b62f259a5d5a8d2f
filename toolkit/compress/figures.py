"""What the measurements of a bundle say of a result: its figures, and its fidelity by slice."""

from __future__ import annotations

from math import isfinite

from msgspec import UNSET

from toolkit.bundle import Measured, Sliced
from toolkit.compress.results import Fidelity, Result

__all__ = ["MOST_SLICES", "figures"]

MOST_SLICES = 64  # a user may give a class to every item


def figures(result: Result, latency_ms: float, *, sliced: bool) -> Measured:
    """The figures of a model, with its fidelity by slice where that is asked for and there are slices."""
    return Measured(
        size_bytes=result.size_bytes,
        latency_ms=latency_ms,
        fidelity=result.fidelity.score.low,
        transport_bytes=result.transport_bytes,
        task={name: value.mean for name, value in result.task.items()} or UNSET,
        slices=(_slices(result.fidelity) if sliced else ()) or UNSET,
    )


def _slices(fidelity: Fidelity) -> tuple[Sliced, ...]:
    """Those that were scored with a number, the lowest bound first."""
    found = (
        Sliced(name=one.name, items=one.items, mean=one.score.mean, low=one.score.low, high=one.score.high)
        for one in fidelity.slices
        if isfinite(one.score.low)
    )
    return tuple(sorted(found, key=lambda one: (one.low, one.name))[:MOST_SLICES])
