"""Mask constants: the large negative numbers that take positions out of an attention, and the nodes they go through."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

__all__ = ["masking"]

LARGE = -1e4  # -3.4e38, -65504 and -10000 are what exporters write
_FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE)
# what hands values on as they are, or moved by as much as other values; a Softmax takes the constant and ends it
_PASSING = {"Add", "Cast", "Concat", "Expand", "Gather", "Identity", "Max", "Min", "Mul", "Reshape", "Slice", "Split"}
_PASSING |= {"Squeeze", "Sub", "Tile", "Transpose", "Unsqueeze", "Where"}


def masking(model: onnx.ModelProto) -> frozenset[str]:
    """The names of the nodes that take or hand on a mask constant.

    Their tensors are no matter for integers. A range with the constant in it has no room for anything else; in a range
    without it, as calibration data that needs no padding gives it, what was masked counts again.
    """
    carried = {tensor.name for tensor in model.graph.initializer if _large(tensor)}
    found = set()
    for node in model.graph.node:
        if node.op_type == "Constant":
            values = [helper.get_attribute_value(attribute) for attribute in node.attribute]
            if any(isinstance(value, TensorProto) and _large(value) for value in values):
                carried.update(node.output)
        if carried.intersection(node.input):
            found.add(node.name)
            if node.op_type in _PASSING:
                carried.update(node.output)
    return frozenset(found)


def _large(tensor: TensorProto) -> bool:
    return tensor.data_type in _FLOATS and bool(np.any(numpy_helper.to_array(tensor) <= LARGE))
