"""Weights in blocks of a few bits, each block with a scale of its own, in the layouts that ONNX Runtime reads."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["Bits", "Blocks", "Raster", "Scales", "Whole", "blocked", "cut", "packed", "raster"]

Bits = Literal[2, 4, 8]
# minmax: the largest number of a block is a level. mse: the least mean square error of the block, as in Choukroun et
# al., "Low-bit Quantization of Neural Networks for Efficient Inference", 2019. hqq: the same, with a zero point of its
# own for each block by half-quadratic splitting, as in Badri and Shaji, "Half-Quadratic Quantization of Large Machine
# Learning Models", 2023. offset: from the smallest number of a block to the largest, so that zero need not be a level:
# each block has an offset beside its scale, as in Q4_1 of the ggml project
Whole = Literal["minmax", "mse", "hqq"]
Scales = Whole | Literal["offset"]
Numbers = NDArray[np.float32]

SHARES = np.linspace(0.6, 1.05, 19, dtype=np.float32)  # of the scale of "minmax", that are tried
AT_ONCE = 1_000_000  # numbers, which bounds the memory
# of the half-quadratic splitting: the norm of the error, its weight at first and how that grows, and the rounds
NORM, WEIGHT, GROWTH, ROUNDS = 0.7, 10.0, 1.01, 20


class Blocks(NamedTuple):
    """A matrix (rows, columns) as integers: `packed` uint8 (rows, blocks, bytes of a block), the lower bits first where
    several share a byte; `scale` float32 (rows, blocks). A number is `scale` times (integer - zero point), which is
    2^(bits-1), or packed in `zero` uint8 (rows, bytes).

    With `sums` the last numbers of a row, filled up to whole blocks, are offsets: so many, one for each block before
    them, to be added to all numbers of that block. A product takes them times the sums of blocks of what comes in.
    """

    packed: NDArray[np.uint8]
    scale: Numbers
    zero: NDArray[np.uint8] | None
    sums: int = 0


class Raster(NamedTuple):
    """Where the numbers of blocks may stand: `scale` times (integer - `zero`), both float32 (rows, blocks), integers
    from 0 to 2^bits - 1. Without a `zero` it is the middle, 2^(bits-1); with `offsets` it need not be whole."""

    scale: Numbers
    zero: Numbers | None
    bits: Bits
    offsets: bool = False

    def integers(self, values: Numbers) -> Numbers:
        """The integers next to values (rows, blocks, size), as floats; halves go to the even one."""
        integers: Numbers = np.clip(np.rint(values / self.scale[..., None] + self._zero), 0, 2**self.bits - 1)
        return integers

    def values(self, integers: Numbers) -> Numbers:
        """What integers (rows, blocks, size) stand for."""
        return (integers - self._zero) * self.scale[..., None]

    def blocks(self, values: Numbers) -> Blocks:
        """Values (rows, blocks, size) as the integers next to them."""
        integers = packed(self.integers(values).astype(np.uint8), self.bits)
        if self.zero is None:
            return Blocks(integers, self.scale, None)
        whole = np.clip(np.rint(self.zero), 0, 2**self.bits - 1)
        if not self.offsets:
            return Blocks(integers, self.scale, packed(whole.astype(np.uint8), self.bits))
        offsets = cut((self.scale * (whole - self.zero)).astype(np.float32), values.shape[2])
        on = raster(offsets, bits=self.bits, scales="hqq")
        assert on.zero is not None  # noqa: S101 - with these scales there is one
        return Blocks(
            np.concatenate([integers, packed(on.integers(offsets).astype(np.uint8), self.bits)], axis=1),
            np.concatenate([self.scale, on.scale], axis=1),
            packed(np.concatenate([whole, on.zero], axis=1).astype(np.uint8), self.bits),
            sums=whole.shape[1],
        )

    def one(self, block: int) -> Raster:
        """That of one block in each row alone."""
        zero = None if self.zero is None else self.zero[:, block : block + 1]
        return Raster(self.scale[:, block : block + 1], zero, self.bits, self.offsets)

    @property
    def _zero(self) -> Numbers:
        return np.full(1, 2 ** (self.bits - 1), np.float32) if self.zero is None else self.zero[..., None]


def blocked(matrix: Numbers, *, bits: Bits, size: int, scales: Scales) -> Blocks:
    """The blocks of a matrix (rows, columns), `size` columns each; the last is filled up with zeros."""
    rows, columns = matrix.shape
    step = max(1, AT_ONCE // columns)
    parts = []
    for start in range(0, rows, step):
        values = cut(matrix[start : start + step], size)
        parts.append(raster(values, bits=bits, scales=scales).blocks(values))
    zeros = [part.zero for part in parts if part.zero is not None]
    return Blocks(
        np.concatenate([part.packed for part in parts]),
        np.concatenate([part.scale for part in parts]),
        np.concatenate(zeros) if zeros else None,
        parts[0].sums,
    )


def cut(rows: Numbers, size: int) -> Numbers:
    """Rows (rows, columns) in blocks (rows, blocks, size); the last is filled up with zeros."""
    return np.pad(rows, ((0, 0), (0, -rows.shape[1] % size))).reshape(len(rows), -1, size)


def raster(values: Numbers, *, bits: Bits, scales: Scales) -> Raster:
    """Where the numbers of blocks (rows, blocks, size) should stand."""
    made = {"hqq": _half_quadratic, "offset": _between}.get(scales, _widest)
    widest = made(values, bits)
    best, least = widest, np.full(widest.scale.shape, np.inf, np.float32)
    for share in SHARES if scales != "minmax" else ():
        tried = widest._replace(scale=(widest.scale * share).astype(np.float32))
        lost = np.square(tried.values(tried.integers(values)) - values).sum(axis=2)
        best = best._replace(scale=np.where(lost < least, tried.scale, best.scale))
        least = np.minimum(lost, least)
    return best


def packed(integers: NDArray[np.uint8], bits: Bits) -> NDArray[np.uint8]:
    """Integers (..., count) in as few bytes as hold them (..., bytes), the first in the lowest bits."""
    each = 8 // bits
    room = [(0, 0)] * (integers.ndim - 1)
    filled = np.pad(integers, [*room, (0, -integers.shape[-1] % each)])
    found = filled[..., ::each].copy()
    for number in range(1, each):
        found |= filled[..., number::each] << np.uint8(bits * number)
    return found


def _widest(values: Numbers, bits: Bits) -> Raster:
    """The number that lies farthest out is put on the lowest level, of which there is one more than above zero."""
    half = 2 ** (bits - 1)
    farthest = np.take_along_axis(values, np.abs(values).argmax(axis=2)[..., None], axis=2)[..., 0]
    scale = np.where(np.abs(farthest) < np.finfo(np.float32).tiny * half, np.float32(1), farthest / -half)
    return Raster(scale.astype(np.float32), None, bits)


def _between(values: Numbers, bits: Bits) -> Raster:
    """The smallest number is the lowest level and the largest the highest."""
    low, high = values.min(axis=2), values.max(axis=2)
    scale = ((high.astype(np.float64) - low) / (2**bits - 1)).astype(np.float32)
    # in a block of numbers that are all alike each is the offset, and one level is enough
    scale = np.where(scale <= np.abs(low) * np.finfo(np.float32).eps, np.maximum(np.abs(low), 1), scale)
    return Raster(scale, (-low / scale).astype(np.float32), bits, offsets=True)


def _half_quadratic(values: Numbers, bits: Bits) -> Raster:
    """The scale from the smallest to the largest number, and the zero point of the least error of a norm below one,
    which lets a few numbers be far off; whole, since kernels are slow with others. Errors are in units of the scale."""
    top = 2**bits - 1
    low, high = np.minimum(values.min(axis=2), 0), np.maximum(values.max(axis=2), 0)
    scale = ((high.astype(np.float64) - low) / top).astype(np.float32)
    scale = np.where(scale < np.finfo(np.float32).tiny, np.float32(1), scale)
    units = values / scale[..., None]
    zero, weight = -low / scale, WEIGHT
    for _ in range(ROUNDS):
        integers = np.clip(np.rint(units + zero[..., None]), 0, top)
        off = units - (integers - zero[..., None])
        size = np.abs(off)
        shrunk = size - np.where(size > 0, size, 1) ** (NORM - 1) / weight
        zero = (integers - units + np.sign(off) * np.maximum(shrunk, 0)).mean(axis=2)
        weight *= GROWTH
    return Raster(scale, np.clip(np.rint(zero), 0, top).astype(np.float32), bits)
