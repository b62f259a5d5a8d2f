"""Which point stands for a bound: the nearest to FP32 that is small enough, the fastest that is near enough."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec import Struct

from toolkit.compress.results import Interval
from toolkit.compress.source import Measure

__all__ = ["Quality", "fastest", "nearest", "said"]


class Quality(Struct, frozen=True, kw_only=True):
    """`size` in bytes, `packed` too, as it is sent (zstd); how near the answers are to those of FP32, each measure by
    its name: by items to choose by, and by held-out ones."""

    size: int
    packed: int
    chosen_by: dict[Measure, Interval]
    held_out: dict[Measure, Interval]

    def told(self) -> str:
        """Sizes in 10^6 bytes, and what was found on the held-out items."""
        found = ", ".join(
            f"{kind} {one.mean:.4f} ({one.low:.4f} to {one.high:.4f})" for kind, one in self.held_out.items()
        )
        return f"{self.size / 1e6:.2f} MB ({self.packed / 1e6:.2f} packed), {found}"


def nearest(found: Mapping[str, Quality], names: Sequence[str], measure: Measure, most: int) -> str | None:
    """The name with the highest lower bound, by the items to choose by, among those of at most so many bytes; of equals
    the smaller. None where none is small enough, or what it says is no number."""
    fitting = [name for name in names if found[name].size <= most and _low(found[name], measure) >= -1]
    return max(fitting, key=lambda name: (_low(found[name], measure), -found[name].size), default=None)


def fastest(
    found: Mapping[str, Quality],
    names: Sequence[str],
    measure: Measure,
    least: float,
    milliseconds: Mapping[str, float],
) -> str | None:
    """The name that takes the least time among those whose lower bound, by the items to choose by, is at least so high;
    None where there is none."""
    fitting = [name for name in names if _low(found[name], measure) >= least]
    return min(fitting, key=lambda name: milliseconds[name], default=None)


def said(what: str, name: str | None, found: Mapping[str, Quality], milliseconds: Mapping[str, float]) -> str:
    """A point in a sentence."""
    return f"{what}: " + ("none" if name is None else f"{name}, {found[name].told()}, {milliseconds[name]:.4g} ms")


def _low(one: Quality, measure: Measure) -> float:
    return one.chosen_by[measure].low
