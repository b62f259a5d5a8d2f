"""Weights in blocks of a few bits, each block with a scale of its own, in the layouts that ONNX Runtime reads."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["Blocks", "Scales", "blocked"]

# minmax: the largest number of a block is a level. mse: the least mean square error of the block, as in Choukroun et
# al., "Low-bit Quantization of Neural Networks for Efficient Inference", 2019
Scales = Literal["minmax", "mse"]
Numbers = NDArray[np.float32]

SHARES = np.linspace(0.6, 1.05, 19, dtype=np.float32)  # of the scale of "minmax", that are tried
AT_ONCE = 1_000_000  # numbers, which bounds the memory


class Blocks(NamedTuple):
    """A matrix (rows, columns) as integers: `packed` uint8 (rows, blocks, bytes of a block), the lower four bits first
    where two share a byte; `scale` float32 (rows, blocks). A number is `scale` times (integer - 2^(bits-1)).
    """

    packed: NDArray[np.uint8]
    scale: Numbers


def blocked(matrix: Numbers, *, bits: Literal[4, 8], size: int, scales: Scales) -> Blocks:
    """The blocks of a matrix (rows, columns), `size` columns each; the last is filled up with zeros."""
    rows, columns = matrix.shape
    step = max(1, AT_ONCE // columns)
    parts = [
        _rounded(_cut(matrix[start : start + step], size, columns), bits, scales) for start in range(0, rows, step)
    ]
    packed, scale = (np.concatenate(kind) for kind in zip(*parts, strict=True))
    return Blocks(packed, scale)


def _cut(rows: Numbers, size: int, columns: int) -> Numbers:
    """(rows, blocks, size)"""
    count = -(-columns // size)
    return np.pad(rows, ((0, 0), (0, count * size - columns))).reshape(len(rows), count, size)


def _rounded(values: Numbers, bits: int, scales: Scales) -> tuple[NDArray[np.uint8], Numbers]:
    """The packed integers and the scales of blocks (rows, blocks, size).

    The number that lies farthest out is put on the lowest level, of which there is one more than of positive ones.
    """
    half = 2 ** (bits - 1)
    farthest = np.take_along_axis(values, np.abs(values).argmax(axis=2)[..., None], axis=2)[..., 0]
    widest = np.where(np.abs(farthest) < np.finfo(np.float32).tiny * half, np.float32(1), farthest / -half)
    best, least = widest, np.full(widest.shape, np.inf, np.float32)
    for share in SHARES if scales == "mse" else ():
        tried = (widest * share).astype(np.float32)
        lost = np.square(_integers(values, tried, half) * tried[..., None] - values).sum(axis=2)
        best, least = np.where(lost < least, tried, best), np.minimum(lost, least)
    integers = (_integers(values, best, half) + half).astype(np.uint8)
    packed = integers if bits == 8 else integers[..., 0::2] | (integers[..., 1::2] << 4)
    return packed, best.astype(np.float32)


def _integers(values: Numbers, scale: Numbers, half: int) -> Numbers:
    integers: Numbers = np.clip(np.rint(values / scale[..., None]), -half, half - 1)
    return integers
