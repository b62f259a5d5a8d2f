"""What was measured, as values."""

from __future__ import annotations

from msgspec import Struct

from toolkit.compress.source import Measure

__all__ = ["Fidelity", "Interval", "Result", "Slice"]


class Interval(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A mean and the bounds of its two-sided 90 % bootstrap interval, so that `low` is the lower 95 % bound."""

    mean: float
    low: float
    high: float


class Slice(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Some of the items: those of a length, a label or a class, such as "length 1-16" or "label positive"."""

    name: str
    items: int
    score: Interval


class Fidelity(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How near the answers are to the original's. `worst` are the numbers of the items with the lowest scores, the
    lowest first, and `worst_scores` their scores."""

    measure: Measure
    score: Interval
    slices: tuple[Slice, ...]
    worst: tuple[int, ...]
    worst_scores: tuple[float, ...]


class Result(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One model, measured. `latency_ms` and `latency_before_ms` are medians of the same run, in turn; `task` the task's
    own metric by name where the items carry labels."""

    size_bytes: int
    transport_bytes: int
    fidelity: Fidelity
    latency_ms: float
    latency_before_ms: float
    task: dict[str, Interval] = {}
