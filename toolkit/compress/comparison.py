"""What bundles that were run side by side weigh, take and say, as values."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from toolkit.compress.results import Interval
from toolkit.compress.source import Measure

__all__ = ["Case", "Compared", "Comparison"]


class Compared(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One of the bundles. `latency_ms` is the median of runs in turn with the others.

    `agreement` is how near its answers are to those of the first bundle, None for that one; `recorded` the fidelity to
    the original that stands in the bundle, as it was found when it was pressed, perhaps on other items. `task` is the
    task's own metric by name, where the items carry labels.
    """

    bundle: str
    name: str
    version: str
    digest: str
    steps: tuple[str, ...]
    size_bytes: int
    transport_bytes: int
    latency_ms: float
    agreement: Interval | None
    recorded: float
    task: dict[str, Interval] = {}


class Case(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An item on which the bundles differ: its number from 0, what it was (a text is cut short), how near each bundle
    but the first came to the first, and the class that each bundle gave it, the first included, where there are
    classes."""

    number: int
    shown: str
    scores: tuple[float, ...]
    classes: tuple[str, ...] = ()


class Comparison(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Bundles in the order in which they were named; the first is the reference. `cases` are those items on which they
    differ most, that with the lowest score first. `batch` says what the latency was taken on; `data` is the SHA-256 of
    the items."""

    format: Literal[1] = 1
    task: str
    measure: Measure
    batch: str
    machine: str
    method: dict[str, str]
    data: str
    items: int
    bundles: tuple[Compared, ...]
    cases: tuple[Case, ...]
