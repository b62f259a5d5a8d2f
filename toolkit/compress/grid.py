"""The grid of integers that an int8 step puts weights on, so that steps before it can look ahead."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "LEVELS",
    "Grid",
    "Integers",
    "Numbers",
    "Scales",
    "grid",
    "in_pairs",
    "in_rows",
    "integers",
    "of_rows",
    "rounded",
]

Numbers = NDArray[np.float32]

# minmax: the largest weight is the last level. seven-bits: the same with half the levels. mse: the least mean square
# error. pairs: that among the integers of which no two neighbours saturate
Scales = Literal["minmax", "seven-bits", "mse", "pairs"]

LEVELS = 127
# Without VNNI the kernel for unsigned activations and signed weights multiplies and adds two neighbours along the sum
# in 16 bits (vpmaddubsw): 255 * 128 is the most that they hold. Both alike in sign, two weights may add up to this.
PAIR = 128
SHARES = np.linspace(0.6, 2.0, 29, dtype=np.float32)  # of the scale of "minmax", that are tried
AT_ONCE = 1_000_000  # weights, which bounds the memory


class Grid(NamedTuple):
    """Weights are near `scale` times whole numbers from -`levels` to `levels`. `scale` has the rank of the weights."""

    scale: Numbers
    levels: int

    def nearest(self, weights: Numbers) -> Numbers:
        """The whole numbers next to the weights, as floats; halves go to the even one."""
        numbers: Numbers = np.clip(np.rint(weights / self.scale), -self.levels, self.levels)
        return numbers


def grid(matrix: Numbers, *, per_channel: bool, seven_bits: bool) -> Grid:
    """The grid of ONNX Runtime's symmetric quantisation for weights (groups, outputs, inputs, positions).

    The largest weight of a channel, or of the tensor, is the last level: weights that stand on the grid, that one
    among them, give the same grid again.
    """
    levels = 64 if seven_bits else 127
    peak = np.abs(matrix).max(axis=(2, 3) if per_channel else None, keepdims=True).astype(np.float64)
    scale = (2 * peak / (2 * levels)).astype(np.float32)
    # as ONNX Runtime does where there is nothing to scale
    return Grid(np.where(scale < np.finfo(np.float32).tiny, np.float32(1), scale), levels)


class Integers(NamedTuple):
    """Weights as whole numbers (groups, outputs, inputs, positions), held as floats, and the `scale` of that rank."""

    numbers: Numbers
    scale: Numbers

    def values(self) -> Numbers:
        """The weights that they stand for."""
        return self.numbers * self.scale


def integers(matrix: Numbers, *, scales: Scales, per_channel: bool) -> Integers:
    """Weights (groups, outputs, inputs, positions) as integers from -127 to 127."""
    if scales in ("minmax", "seven-bits"):
        on = grid(matrix, per_channel=per_channel, seven_bits=scales == "seven-bits")
        return Integers(on.nearest(matrix), on.scale)
    groups, outputs, _, _ = matrix.shape
    rows, paired = in_rows(matrix), scales == "pairs" and in_pairs(matrix)
    widest = grid(matrix, per_channel=per_channel, seven_bits=False).scale
    widest = np.broadcast_to(widest, (groups, outputs, 1, 1)).reshape(-1, 1)
    lost = np.array([_lost(rows, widest * share, paired) for share in SHARES])  # (shares, rows)
    best = SHARES[lost.argmin(axis=0) if per_channel else np.full(len(rows), lost.sum(axis=1).argmin())]
    scale = widest * best[:, None]
    numbers = of_rows(rounded(rows, scale, paired), matrix)
    return Integers(numbers, scale.reshape(groups, outputs, 1, 1) if per_channel else scale[:1, :1, None, None])


def in_rows(matrix: Numbers) -> Numbers:
    """(outputs of all groups, positions and inputs), in the order in which the kernel adds up."""
    groups, outputs, inputs, positions = matrix.shape
    return matrix.transpose(0, 1, 3, 2).reshape(groups * outputs, positions * inputs)


def of_rows(rows: Numbers, like: Numbers) -> Numbers:
    """The same back as a matrix with the shape of another."""
    groups, outputs, inputs, positions = like.shape
    return np.ascontiguousarray(rows.reshape(groups, outputs, positions, inputs).transpose(0, 1, 3, 2))


def in_pairs(matrix: Numbers) -> bool:
    """Whether the kernel adds products up in pairs, in 16 bits; that for one input a group works in more bits."""
    groups, _, inputs, _ = matrix.shape
    return not (groups > 1 and inputs == 1)


def rounded(rows: Numbers, scale: Numbers, paired: bool, levels: int = LEVELS) -> Numbers:
    """Rows (rows, inputs) as whole numbers times `scale` (rows, 1). Where they are `paired`, and two neighbours would
    saturate, what is too much is taken from both alike."""
    numbers: Numbers = np.clip(np.rint(rows / scale), -levels, levels)
    if paired:
        even, odd = numbers[:, : numbers.shape[1] // 2 * 2 : 2], numbers[:, 1::2]
        over = np.where(even * odd > 0, np.maximum(np.abs(even) + np.abs(odd) - PAIR, 0), 0)
        even -= np.sign(even) * np.ceil(over / 2)
        odd -= np.sign(odd) * np.floor(over / 2)
    return numbers


def _lost(rows: Numbers, scale: Numbers, paired: bool) -> NDArray[np.float64]:
    """The square error of each row."""
    step = max(1, AT_ONCE // rows.shape[1])
    parts = []
    for start in range(0, len(rows), step):
        some, by = rows[start : start + step], scale[start : start + step]
        parts.append(np.square(rounded(some, by, paired) * by - some).sum(axis=1, dtype=np.float64))
    return np.concatenate(parts)
