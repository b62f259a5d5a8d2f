"""The grid of integers that an int8 step puts weights on, so that steps before it can look ahead."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["Grid", "grid"]

Numbers = NDArray[np.float32]


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
