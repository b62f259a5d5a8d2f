"""The ranges that integers stand for: from what tensors were seen to hold to a scale and a zero point."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["Affine", "Method", "Range", "affine", "clipped", "ranges"]

# minmax: all that was seen. percentile: all but the share of the values that lies farthest out. mse: the least mean
# square error (Banner et al., "Post training 4-bit quantization of convolutional networks for rapid-deployment", 2019).
# entropy: the least information lost (Migacz, "8-bit inference with TensorRT", 2017)
Method = Literal["minmax", "percentile", "mse", "entropy"]
Numbers = NDArray[np.float64]

BINS = 2048
LEVELS = 256
SHARES = np.linspace(0.1, 1, 19)  # of each side of the range, that are tried


class Range(NamedTuple):
    """From `low` to `high`, zero among them."""

    low: float
    high: float


class Affine(NamedTuple):
    """A number is about `scale` times (integer - `zero`). Zero itself is exact."""

    scale: np.float32
    zero: int


def affine(found: Range, bits: int) -> Affine:
    """The unsigned integers of so many bits for a range."""
    levels = 2**bits - 1
    scale = np.float32((found.high - found.low) / levels)
    if scale < np.finfo(np.float32).tiny:  # nothing but zeros: any scale will do
        return Affine(np.float32(1), 0)
    return Affine(scale, int(np.clip(np.rint(-found.low / np.float64(scale)), 0, levels)))


def ranges(
    look: Callable[[], Iterator[Mapping[str, NDArray[Any]]]], method: Method, percentile: float
) -> dict[str, Range]:
    """A range for each tensor that `look` shows, batch by batch; it is called twice for all but "minmax".

    `percentile` is what of the values stays inside, of a hundred.
    """
    widest: dict[str, Range] = {}
    for values in look():
        for name, value in values.items():
            low, high = widest.get(name, Range(0.0, 0.0))
            widest[name] = Range(min(low, float(value.min(initial=0))), max(high, float(value.max(initial=0))))
    if method == "minmax":
        return widest
    counts = {name: np.zeros(BINS) for name in widest}
    for values in look():
        for name, value in values.items():
            low, high = widest[name]
            if low < high:
                counts[name] += np.histogram(value.astype(np.float64), BINS, (low, high))[0]
    return {name: clipped(found, counts[name], method, percentile) for name, found in widest.items()}


def clipped(found: Range, counts: Numbers, method: Method, percentile: float) -> Range:
    """The range inside of another that a method prefers, by the counts of the values in bins of equal width."""
    if method == "minmax" or not counts.any():
        return found
    edges = np.linspace(found.low, found.high, len(counts) + 1)
    if method == "percentile":
        below = np.cumsum(counts) / counts.sum()
        outside = (1 - percentile / 100) / 2
        low = edges[np.searchsorted(below, outside, side="right")]
        high = edges[min(int(np.searchsorted(below, 1 - outside)) + 1, len(counts))]
        return Range(min(float(low), 0.0), max(float(high), 0.0))
    centres = (edges[:-1] + edges[1:]) / 2
    lost = _squares if method == "mse" else _divergence
    # the widest first, which wins where nothing is better
    tried = [Range(found.low * a, found.high * b) for a in SHARES[::-1] for b in SHARES[::-1]]
    # a side that is zero is tried once
    tried = list(dict.fromkeys(tried))
    return min(tried, key=lambda one: lost(one, centres, counts))


def _squares(one: Range, centres: Numbers, counts: Numbers) -> float:
    scale, zero = affine(one, 8)
    back = (np.clip(np.rint(centres / scale) + zero, 0, LEVELS - 1) - zero) * np.float64(scale)
    return float(counts @ (centres - back) ** 2)


def _divergence(one: Range, centres: Numbers, counts: Numbers) -> float:
    """Kullback-Leibler, from the values that are clipped to the range to those that its levels can tell apart."""
    inside = (centres >= one.low) & (centres <= one.high)
    if not counts[inside].any():
        return float("inf")
    # what is clipped gathers in the outermost bins
    where = np.clip(np.arange(len(counts)), *np.flatnonzero(inside)[[0, -1]])
    truth: Numbers = np.bincount(where, counts, len(counts)) / counts.sum()
    scale, zero = affine(one, 8)
    level = np.clip(np.rint(centres / scale) + zero, 0, LEVELS - 1).astype(np.int64)
    # the levels know nothing of what was clipped; each spreads its values evenly over its bins that hold any
    used = inside & (counts > 0)
    mass, bins = np.bincount(level[used], counts[used], LEVELS), np.bincount(level[used], minlength=LEVELS)
    spread = np.where(used, (mass / np.maximum(bins, 1))[level], 0) / counts[inside].sum()
    some = truth > 0
    return float(truth[some] @ np.log(truth[some] / np.maximum(spread[some], 1e-12)))
