"""Made-up inputs for a model of tensors, where nobody has any."""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from math import prod
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper, shape_inference

from policies.payload import MAX_BYTES
from toolkit.compress.data import Items, gathered
from toolkit.compress.errors import SourceError
from toolkit.compress.sources.onnx_checks import light

__all__ = ["METHOD", "made_up"]

# for the report: what figures on such inputs are worth
METHOD = (
    "made-up inputs: normal random numbers; integers from the rows of the table that they index or the constants that "
    "they are compared with, else 0 to 255; masks of ones; sizes that the graph's own shapes allow. They show that two "
    "models compute the same, not how well either serves its task."
)

# tried in this order for dimensions that are open: the sides of images, the lengths of signals, those of token ids
_SIDES = (64, 48, 32, 224, 512)
_LENGTHS = (512, 576, 256, 64, 16)
_TOKENS = (16, 32, 8, 4, 2)
_SAME = ("Cast", "Identity", "Reshape", "Squeeze", "Unsqueeze", "Flatten")


def made_up(model: onnx.ModelProto, count: int, seed: int) -> Items:
    """`count` sets of tensors for a whole model, the same for the same seed.

    Raises SourceError "source_examples" where no size is found for its open dimensions, or no number.
    """
    held = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in held]
    shapes = _shapes(model, inputs)
    if 8 * sum(map(prod, shapes.values())) > MAX_BYTES:
        raise SourceError("source_examples", f"the inputs are too large for a call: {shapes}")
    random = np.random.default_rng(seed)
    try:
        return gathered(
            [
                {value.name: _filled(model.graph, value, shapes[value.name], random) for value in inputs}
                for _ in range(count)
            ],
            "tensors",
        )
    except (IndexError, OverflowError, ValueError):
        raise SourceError("source_examples", "the graph looks up or compares what its inputs cannot be") from None


def _shapes(model: onnx.ModelProto, inputs: Sequence[onnx.ValueInfoProto]) -> dict[str, tuple[int, ...]]:
    """The first sizes for which every shape in the graph works out."""
    small = light(model)
    for output in small.graph.output:
        output.type.tensor_type.ClearField("shape")
    batches = {dim.dim_param for value in inputs if (dim := _batch(value)) is not None} - {"", "?"}
    for attempt in range(len(_SIDES)):
        shapes = {value.name: tuple(_sized(value, batches, attempt)) for value in inputs}
        for value in small.graph.input:
            if value.name in shapes:
                fixed = helper.make_tensor_type_proto(value.type.tensor_type.elem_type, shapes[value.name])
                value.type.CopyFrom(fixed)
        try:
            shape_inference.infer_shapes(small, strict_mode=True, data_prop=True)
        except (shape_inference.InferenceError, RuntimeError, ValueError):
            continue
        return shapes
    raise SourceError("source_examples", "no size was found that the open dimensions of the inputs could have")


def _sized(value: onnx.ValueInfoProto, batches: Container[str], attempt: int) -> Iterator[int]:
    """The shape of an input, with one item where it has a batch."""
    tensor, batch = value.type.tensor_type, _batch(value)
    whole = helper.tensor_dtype_to_np_dtype(tensor.elem_type).kind != "f"
    sizes = _SIDES if len(tensor.shape.dim) > 3 else _TOKENS if whole else _LENGTHS
    for dim in tensor.shape.dim:
        if dim.dim_value > 0:
            yield dim.dim_value
        else:
            yield 1 if dim is batch or dim.dim_param in batches else sizes[attempt]


def _batch(value: onnx.ValueInfoProto) -> onnx.TensorShapeProto.Dimension | None:
    """The dimension that looks like the batch: the first open one, unless a fixed 1 stands in front of it."""
    dims: list[onnx.TensorShapeProto.Dimension] = list(value.type.tensor_type.shape.dim)
    first = next((dim for dim in dims if dim.dim_value <= 0 or dim.dim_value == 1), None)
    return None if first is None or first.dim_value == 1 else first


def _filled(
    graph: onnx.GraphProto, value: onnx.ValueInfoProto, shape: tuple[int, ...], random: np.random.Generator
) -> NDArray[Any]:
    dtype = helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
    if dtype.kind == "f":
        return random.standard_normal(shape).astype(dtype)
    if "mask" in value.name.lower():
        return np.ones(shape, dtype)
    if dtype.kind == "b":
        return random.integers(0, 2, shape).astype(dtype)
    choices = _choices(graph, value.name)
    if isinstance(choices, int):
        return random.integers(0, min(choices, np.iinfo(dtype).max), shape).astype(dtype)
    return random.choice(np.array(choices, dtype), shape)


def _choices(graph: onnx.GraphProto, name: str) -> int | list[int]:
    """The integers that an input may hold: below a bound, or one of some."""
    constants = {node.output[0]: node.attribute[0].t for node in graph.node if node.op_type == "Constant"}
    tensors = {tensor.name: tensor for tensor in graph.initializer} | constants
    same, compared = {name}, []
    for node in graph.node:
        if node.op_type in _SAME and node.input[0] in same:
            same.update(node.output)
        if node.op_type == "Gather" and node.input[1] in same and node.input[0] in tensors:
            table = tensors[node.input[0]]
            axis = next((attribute.i for attribute in node.attribute if attribute.name == "axis"), 0)
            return int(table.dims[axis])
        if node.op_type == "Equal" and not same.isdisjoint(node.input):
            compared += [numpy_helper.to_array(tensors[other]) for other in node.input if other in tensors]
    return [int(one.reshape(-1)[0]) for one in compared if one.size == 1] or 256
