"""The operators of ONNX that a model is trained through, as functions of torch.

Each takes the attributes of its node, then its inputs in order, None where one is left out, and gives its output or a
tuple of them. Definitions: ONNX operator schemas, opset 20.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from typing import Any

import onnx
import torch
from onnx import numpy_helper
from torch.nn import functional as F  # noqa: N812 - its customary name

__all__ = ["OPERATORS", "Attributes", "Operator"]

Tensor = torch.Tensor
Attributes = Mapping[str, Any]
Operator = Callable[..., Any]

_TYPES = {
    onnx.TensorProto.FLOAT: torch.float32,
    onnx.TensorProto.DOUBLE: torch.float64,
    onnx.TensorProto.INT32: torch.int32,
    onnx.TensorProto.INT64: torch.int64,
    onnx.TensorProto.BOOL: torch.bool,
}


def _numbers(tensor: Tensor) -> list[int]:
    return [int(number) for number in tensor.reshape(-1).tolist()]


def _alone(function: Callable[..., Tensor]) -> Operator:
    """An operator without attributes."""
    return lambda _, *inputs: function(*inputs)


def _cast(at: Attributes, x: Tensor) -> Tensor:
    return x.to(_TYPES[at["to"]])


def _clip(at: Attributes, x: Tensor, low: Tensor | None = None, high: Tensor | None = None) -> Tensor:
    return x if low is None and high is None else torch.clamp(x, low, high)


def _concat(at: Attributes, *inputs: Tensor) -> Tensor:
    return torch.cat(inputs, dim=at["axis"])


def _constant(at: Attributes) -> Tensor:
    if "value" in at:
        return torch.from_numpy(numpy_helper.to_array(at["value"]).copy())
    [(name, value)] = at.items()
    return torch.tensor(value, dtype=torch.float32 if "float" in name else torch.int64)


def _constant_of_shape(at: Attributes, shape: Tensor) -> Tensor:
    value = torch.from_numpy(numpy_helper.to_array(at["value"]).copy()) if "value" in at else torch.zeros(1)
    return value.to(shape.device).reshape(()).expand(_numbers(shape)).clone()


def _padded(at: Attributes, x: Tensor, kernel: Sequence[int], value: float = 0.0) -> Tensor:
    """What a convolution or a pool slides over."""
    rank = len(kernel)
    pads = at.get("pads", [0] * (2 * rank))
    sides = list(zip(pads[:rank], pads[rank:], strict=True))
    if at.get("auto_pad", b"NOTSET") in (b"SAME_UPPER", b"SAME_LOWER"):
        strides, dilations = at.get("strides", [1] * rank), at.get("dilations", [1] * rank)
        sides = []
        for size, width, stride, step in zip(x.shape[2:], kernel, strides, dilations, strict=True):
            room = max(0, (math.ceil(size / stride) - 1) * stride + (width - 1) * step + 1 - size)
            less, more = room // 2, room - room // 2
            sides.append((less, more) if at["auto_pad"] == b"SAME_UPPER" else (more, less))
    return F.pad(x, [number for side in reversed(sides) for number in side], value=value)


def _conv(at: Attributes, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    convolve = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}[weight.ndim - 2]
    x = _padded(at, x, weight.shape[2:])
    return convolve(x, weight, bias, at.get("strides", 1), 0, at.get("dilations", 1), at.get("group", 1))


def _max_pool(at: Attributes, x: Tensor) -> Tensor:
    kernel = at["kernel_shape"]
    pool = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}[x.ndim - 2]
    x = _padded(at, x, kernel, -math.inf)
    return pool(x, kernel, at.get("strides", 1), 0, at.get("dilations", 1), bool(at.get("ceil_mode")))


def _average_pool(at: Attributes, x: Tensor) -> Tensor:
    kernel, strides = at["kernel_shape"], at.get("strides", 1)
    pool = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}[x.ndim - 2]
    if at.get("ceil_mode") or any(step != 1 for step in at.get("dilations", ())):
        raise NotImplementedError("ceil_mode or dilations of an average")
    sums: Tensor = pool(_padded(at, x, kernel), kernel, strides)
    if at.get("count_include_pad"):
        return sums
    share: Tensor = pool(_padded(at, torch.ones_like(x), kernel), kernel, strides)
    return sums / share


def _expand(_: Attributes, x: Tensor, shape: Tensor) -> Tensor:
    sizes = _numbers(shape)
    # a size of the tensor stays where one is asked for
    own = [1] * (len(sizes) - x.ndim) + list(x.shape)
    return x.expand(
        [max(pair) if 0 not in pair else 0 for pair in zip(own, [1] * (len(own) - len(sizes)) + sizes, strict=True)]
    )


def _flatten(at: Attributes, x: Tensor) -> Tensor:
    axis = at.get("axis", 1)
    return x.reshape(math.prod(x.shape[:axis]), -1)


def _gather(at: Attributes, x: Tensor, where: Tensor) -> Tensor:
    axis = at.get("axis", 0) % x.ndim
    where = torch.where(where < 0, where + x.shape[axis], where)
    taken = x.index_select(axis, where.reshape(-1))
    return taken.reshape(*x.shape[:axis], *where.shape, *x.shape[axis + 1 :])


def _gather_nd(at: Attributes, x: Tensor, where: Tensor) -> Tensor:
    if at.get("batch_dims", 0):
        raise NotImplementedError("batch_dims")
    return x[tuple(where.unbind(-1))]


def _gelu(at: Attributes, x: Tensor) -> Tensor:
    how: str = at.get("approximate", b"none").decode()
    return F.gelu(x, approximate=how)


def _gemm(at: Attributes, a: Tensor, b: Tensor, c: Tensor | None = None) -> Tensor:
    a, b = (a.T if at.get("transA") else a), (b.T if at.get("transB") else b)
    made: Tensor = at.get("alpha", 1.0) * (a @ b)
    return made if c is None else made + at.get("beta", 1.0) * c


def _hard_sigmoid(at: Attributes, x: Tensor) -> Tensor:
    return torch.clamp(at.get("alpha", 0.2) * x + at.get("beta", 0.5), 0, 1)


def _batch_norm(at: Attributes, x: Tensor, scale: Tensor, bias: Tensor, mean: Tensor, var: Tensor) -> Tensor:
    return F.batch_norm(x, mean, var, scale, bias, training=False, eps=at.get("epsilon", 1e-5))


def _layer_norm(at: Attributes, x: Tensor, scale: Tensor, bias: Tensor | None = None) -> Tensor:
    shape = x.shape[at.get("axis", -1) % x.ndim :]
    return F.layer_norm(x, shape, scale, bias, at.get("epsilon", 1e-5))


def _reduced(function: Callable[..., Tensor]) -> Operator:
    def reduced(at: Attributes, x: Tensor, axes: Tensor | None = None) -> Tensor:
        along = at.get("axes") if axes is None else _numbers(axes)
        if along is None and at.get("noop_with_empty_axes"):
            return x
        return function(x, dim=along or list(range(x.ndim)), keepdim=bool(at.get("keepdims", 1)))

    return reduced


def _range(_: Attributes, start: Tensor, limit: Tensor, delta: Tensor) -> Tensor:
    return torch.arange(start.item(), limit.item(), delta.item(), dtype=start.dtype, device=start.device)


def _reshape(at: Attributes, x: Tensor, shape: Tensor) -> Tensor:
    sizes = _numbers(shape)
    if not at.get("allowzero"):
        sizes = [x.shape[place] if size == 0 else size for place, size in enumerate(sizes)]
    return x.reshape(sizes)


def _shape(at: Attributes, x: Tensor) -> Tensor:
    sizes = list(x.shape)[at.get("start", 0) : at.get("end")]
    return torch.tensor(sizes, dtype=torch.int64, device=x.device)


def _slice(
    _: Attributes, x: Tensor, starts: Tensor, ends: Tensor, axes: Tensor | None = None, steps: Tensor | None = None
) -> Tensor:
    along = range(len(starts)) if axes is None else _numbers(axes)
    by = [1] * len(starts) if steps is None else _numbers(steps)
    for axis, start, end, step in zip(along, _numbers(starts), _numbers(ends), by, strict=True):
        if step > 0:
            x = x[(slice(None),) * (axis % x.ndim) + (slice(start, end, step),)]
        else:
            places = range(x.shape[axis])[slice(start, max(end, -x.shape[axis] - 1), step)]
            x = x.index_select(axis, torch.tensor(places, device=x.device))
    return x


def _softmax(at: Attributes, x: Tensor) -> Tensor:
    return torch.softmax(x, dim=at.get("axis", -1))


def _split(at: Attributes, x: Tensor, sizes: Tensor | None = None) -> tuple[Tensor, ...]:
    axis = at.get("axis", 0)
    if sizes is not None:
        return torch.split(x, _numbers(sizes), dim=axis)
    return torch.split(x, math.ceil(x.shape[axis] / at["num_outputs"]), dim=axis)


def _squeeze(_: Attributes, x: Tensor, axes: Tensor | None = None) -> Tensor:
    return x.squeeze() if axes is None else x.squeeze(_numbers(axes))


def _transpose(at: Attributes, x: Tensor) -> Tensor:
    return x.permute(at.get("perm", tuple(reversed(range(x.ndim)))))


def _unsqueeze(_: Attributes, x: Tensor, axes: Tensor) -> Tensor:
    rank = x.ndim + len(axes)
    for axis in sorted(number % rank for number in _numbers(axes)):
        x = x.unsqueeze(axis)
    return x


def _divided(a: Tensor, b: Tensor) -> Tensor:
    return torch.div(a, b, rounding_mode=None if a.is_floating_point() else "trunc")


OPERATORS: Mapping[str, Operator] = {
    "Abs": _alone(torch.abs),
    "Add": _alone(torch.add),
    "And": _alone(torch.logical_and),
    "AveragePool": _average_pool,
    "BatchNormalization": _batch_norm,
    "Cast": _cast,
    "Clip": _clip,
    "Concat": _concat,
    "Constant": _constant,
    "ConstantOfShape": _constant_of_shape,
    "Conv": _conv,
    "Div": _alone(_divided),
    "Equal": _alone(torch.eq),
    "Erf": _alone(torch.erf),
    "Exp": _alone(torch.exp),
    "Expand": _expand,
    "Flatten": _flatten,
    "Gather": _gather,
    "GatherND": _gather_nd,
    "Gelu": _gelu,
    "Gemm": _gemm,
    "GlobalAveragePool": _alone(lambda x: x.mean(dim=tuple(range(2, x.ndim)), keepdim=True)),
    "Greater": _alone(torch.gt),
    "GreaterOrEqual": _alone(torch.ge),
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": _alone(F.hardswish),
    "Identity": _alone(lambda x: x),
    "LayerNormalization": _layer_norm,
    "Less": _alone(torch.lt),
    "LessOrEqual": _alone(torch.le),
    "Log": _alone(torch.log),
    "MatMul": _alone(torch.matmul),
    "Max": _alone(lambda *inputs: reduce(torch.maximum, inputs)),
    "MaxPool": _max_pool,
    "Min": _alone(lambda *inputs: reduce(torch.minimum, inputs)),
    "Mul": _alone(torch.mul),
    "Neg": _alone(torch.neg),
    "Not": _alone(torch.logical_not),
    "Or": _alone(torch.logical_or),
    "Pow": _alone(torch.pow),
    "Range": _range,
    "Reciprocal": _alone(torch.reciprocal),
    "ReduceMean": _reduced(torch.mean),
    "ReduceSum": _reduced(torch.sum),
    "Relu": _alone(torch.relu),
    "Reshape": _reshape,
    "Shape": _shape,
    "Sigmoid": _alone(torch.sigmoid),
    "Slice": _slice,
    "Softmax": _softmax,
    "Split": _split,
    "Sqrt": _alone(torch.sqrt),
    "Squeeze": _squeeze,
    "Sub": _alone(torch.sub),
    "Tanh": _alone(torch.tanh),
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
    "Where": _alone(torch.where),
}
