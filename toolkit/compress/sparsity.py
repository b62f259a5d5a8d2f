"""Which weights of a matrix become zeros, by what each of them is worth, in a pattern."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from toolkit.compress.layers import RUNTIME

__all__ = ["Pattern", "gone", "zeros"]

# 2:4: of four neighbours among the inputs of an output two are zeros. block: squares of weights are zeros as a whole
Pattern = Literal["unstructured", "2:4", "block"]


def gone(scores: NDArray[np.float64], pattern: Pattern, share: float, block: int) -> NDArray[np.bool_]:
    """Which weights (outputs, channels) go, so that those that stay have the highest scores: a `share` of all, rounded
    down; of whole squares of `block`, judged by the mean of their scores; or half of each four channels."""
    if pattern == "2:4":
        # what fills up the last four is a zero already
        fours = np.pad(scores, ((0, 0), (0, -scores.shape[1] % 4)), constant_values=-np.inf).reshape(len(scores), -1, 4)
        ranks = fours.argsort(axis=2, kind="stable").argsort(axis=2, kind="stable")
        return np.ascontiguousarray((ranks < 2).reshape(len(scores), -1)[:, : scores.shape[1]])
    if pattern == "block":
        rows, columns = (np.arange(0, length, block) for length in scores.shape)
        sums = np.add.reduceat(np.add.reduceat(scores, rows, axis=0), columns, axis=1)
        heights, widths = (np.minimum(block, length - np.arange(0, length, block)) for length in scores.shape)
        squares = _lowest(sums / (heights[:, None] * widths), share)
        return np.repeat(np.repeat(squares, heights, axis=0), widths, axis=1)
    return _lowest(scores, share)


def zeros(model: bytes, names: Iterable[str]) -> dict[str, int]:
    """How many weights of an ONNX file are zeros, by the names of the nodes that have them, of some nodes: floats,
    signed integers as `static-int8` makes them, and blocks. A node that is gone or of another kind is left out."""
    graph = onnx.load_from_string(model).graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    wanted = set(names)
    found = {}
    for node in graph.node:
        if node.name not in wanted or len(node.input) < 2 or node.input[1] not in constants:
            continue
        weights = numpy_helper.to_array(constants[node.input[1]])
        if node.domain == RUNTIME and node.op_type == "MatMulNBits":
            found[node.name] = _in_blocks(node, weights, constants)
        elif weights.dtype in (np.float32, np.int8):
            found[node.name] = int(weights.size - np.count_nonzero(weights))
    return found


def _lowest(scores: NDArray[np.float64], share: float) -> NDArray[np.bool_]:
    marked = np.zeros(scores.size, np.bool_)
    marked[scores.reshape(-1).argsort(kind="stable")[: int(share * scores.size)]] = True
    return marked.reshape(scores.shape)


def _in_blocks(node: onnx.NodeProto, packed: NDArray[np.uint8], constants: dict[str, onnx.TensorProto]) -> int:
    """Integers that are the zero point of their block. What fills up the last block is no weight."""
    given = {attribute.name: attribute.i for attribute in node.attribute}
    bits, columns = given["bits"], given["K"]
    zero = np.array(2 ** (bits - 1), np.uint8)
    if len(node.input) > 3 and node.input[3]:
        zero = _unpacked(numpy_helper.to_array(constants[node.input[3]]), bits)[:, : packed.shape[1], None]
    same = _unpacked(packed, bits) == zero
    return int(np.count_nonzero(same.reshape(len(same), -1)[:, :columns]))


def _unpacked(packed: NDArray[np.uint8], bits: int) -> NDArray[np.uint8]:
    parts = [packed >> np.uint8(shift) & np.uint8(2**bits - 1) for shift in range(0, 8, bits)]
    return np.stack(parts, axis=-1).reshape(*packed.shape[:-1], -1)
