"""The types in which GGUF files store numbers, made floats: plain ones, blocks of 32, and blocks of 256 in sub-blocks.

Each is a linear code: a number is its integer times the scale of its block, plus the block's offset where the type has
one. After the reference implementation of the ggml project (ggml-quants.c).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["FORMS", "Form", "floats"]

Numbers = NDArray[np.float32]
Bytes = NDArray[np.uint8]


class Form(NamedTuple):
    """`numbers` of them are stored together in `size` bytes; `read` makes (blocks, size) bytes to (blocks, numbers)
    floats. `floating`: they were never rounded to a few bits."""

    name: str
    numbers: int
    size: int
    read: Callable[[Bytes], Numbers]
    floating: bool = False


def floats(data: memoryview, form: int) -> Numbers:
    """The numbers of whole blocks in one of FORMS, flat."""
    kind = FORMS[form]
    return kind.read(np.frombuffer(data, np.uint8).reshape(-1, kind.size)).reshape(-1)


def _half(blocks: Bytes, at: int) -> Numbers:
    """The number of half precision at a byte of each block, (blocks, 1)."""
    return np.ascontiguousarray(blocks[:, at : at + 2]).view("<f2").astype(np.float32)


def _plain(dtype: str) -> Callable[[Bytes], Numbers]:
    return lambda blocks: np.ascontiguousarray(blocks).view(dtype).astype(np.float32)


def _bf16(blocks: Bytes) -> Numbers:
    return (np.ascontiguousarray(blocks).view("<u2").astype(np.uint32) << 16).view(np.float32)


def _nibbles(packed: Bytes) -> Bytes:
    """The lower four bits of all bytes, and then the upper ones."""
    return np.concatenate([packed & 15, packed >> 4], axis=1)


def _fifth(blocks: Bytes, at: int) -> Bytes:
    """The fifth bit of 32 integers, in its place."""
    bits: Any = np.unpackbits(blocks[:, at : at + 4], axis=1, bitorder="little")
    return np.asarray(bits << 4, np.uint8)


def _q4_0(blocks: Bytes) -> Numbers:
    return _half(blocks, 0) * (_nibbles(blocks[:, 2:]).astype(np.float32) - 8)


def _q4_1(blocks: Bytes) -> Numbers:
    return _half(blocks, 0) * _nibbles(blocks[:, 4:]).astype(np.float32) + _half(blocks, 2)


def _q5_0(blocks: Bytes) -> Numbers:
    return _half(blocks, 0) * ((_nibbles(blocks[:, 6:]) | _fifth(blocks, 2)).astype(np.float32) - 16)


def _q5_1(blocks: Bytes) -> Numbers:
    return _half(blocks, 0) * (_nibbles(blocks[:, 8:]) | _fifth(blocks, 4)).astype(np.float32) + _half(blocks, 2)


def _q8_0(blocks: Bytes) -> Numbers:
    return _half(blocks, 0) * np.ascontiguousarray(blocks[:, 2:]).view(np.int8).astype(np.float32)


def _sub_scales(packed: Bytes) -> tuple[Numbers, Numbers]:
    """Eight scales and eight offsets of six bits from twelve bytes, each (blocks, 8)."""
    low, mid, high = packed[:, :4], packed[:, 4:8], packed[:, 8:]
    scales = np.concatenate([low & 63, (high & 15) | ((low >> 6) << 4)], axis=1)
    offsets = np.concatenate([mid & 63, (high >> 4) | ((mid >> 6) << 4)], axis=1)
    return scales.astype(np.float32), offsets.astype(np.float32)


def _q4_k(blocks: Bytes) -> Numbers:
    scales, offsets = _sub_scales(blocks[:, 4:16])
    integers = _by_32(blocks[:, 16:]).astype(np.float32)
    return _in_sub_blocks(blocks, scales, offsets, integers)


def _q5_k(blocks: Bytes) -> Numbers:
    scales, offsets = _sub_scales(blocks[:, 4:16])
    high = (blocks[:, None, 16:48] >> np.arange(8, dtype=np.uint8)[None, :, None]) & 1
    integers = (_by_32(blocks[:, 48:]) | (high << 4)).astype(np.float32)
    return _in_sub_blocks(blocks, scales, offsets, integers)


def _by_32(packed: Bytes) -> Bytes:
    """Runs of 32 bytes, each with 32 integers in its lower bits and the next 32 in its upper ones: (blocks, 8, 32)."""
    runs = packed.reshape(len(packed), 4, 1, 32)
    return np.concatenate([runs & 15, runs >> 4], axis=2).reshape(len(packed), 8, 32)


def _in_sub_blocks(blocks: Bytes, scales: Numbers, offsets: Numbers, integers: Numbers) -> Numbers:
    scale, offset = _half(blocks, 0) * scales, _half(blocks, 2) * offsets
    return (scale[..., None] * integers - offset[..., None]).reshape(len(blocks), 256)


def _q6_k(blocks: Bytes) -> Numbers:
    count = len(blocks)
    low = blocks[:, :128].reshape(count, 2, 1, 64)
    four = np.concatenate([low & 15, low >> 4], axis=2).reshape(count, 2, 4, 32)
    high = blocks[:, 128:192].reshape(count, 2, 1, 32)
    two = (high >> (2 * np.arange(4, dtype=np.uint8))[None, None, :, None]) & 3
    integers = (four | (two << 4)).reshape(count, 16, 16).astype(np.float32) - 32
    scales = np.ascontiguousarray(blocks[:, 192:208]).view(np.int8).astype(np.float32)
    found: Numbers = ((_half(blocks, 208) * scales)[..., None] * integers).reshape(count, 256)
    return found


FORMS: Mapping[int, Form] = {
    0: Form("F32", 1, 4, _plain("<f4"), floating=True),
    1: Form("F16", 1, 2, _plain("<f2"), floating=True),
    2: Form("Q4_0", 32, 18, _q4_0),
    3: Form("Q4_1", 32, 20, _q4_1),
    6: Form("Q5_0", 32, 22, _q5_0),
    7: Form("Q5_1", 32, 24, _q5_1),
    8: Form("Q8_0", 32, 34, _q8_0),
    12: Form("Q4_K", 256, 144, _q4_k),
    13: Form("Q5_K", 256, 176, _q5_k),
    14: Form("Q6_K", 256, 210, _q6_k),
    30: Form("BF16", 1, 2, _bf16, floating=True),
}
