"""What is held against an ONNX file before a runtime sees it: a protobuf, its tensors, its operators, its sizes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from math import prod
from typing import Any, TypeVar

import numpy as np
import onnx
from google.protobuf.message import DecodeError, Message  # type: ignore[import-untyped]  # types are another package
from msgspec import Struct
from onnx import checker, helper, inliner, numpy_helper, shape_inference

from toolkit.compress.errors import SourceError

__all__ = ["Span", "check", "classifies", "embed", "external", "light", "parsed", "parts", "refuse_foreign"]

P = TypeVar("P")

MAX_NUMBERS = 500_000_000  # that a shape in the graph may describe: 2 GB as FP32
MAX_NODES = 1_000_000
_LARGE = 4096  # bytes: shapes are smaller
MAX_NAME = 1000
_NAMES = ("name", "domain", "op_type", "input", "output", "dim_param", "overload")
_OWN_DOMAINS = ("", "ai.onnx", "ai.onnx.ml")
_RUNTIME_DOMAINS = ("com.microsoft", "com.microsoft.nchwc")
_QUANTISED = frozenset(
    {
        "ConvInteger",
        "DequantizeLinear",
        "DynamicQuantizeLinear",
        "MatMulInteger",
        "QLinearConv",
        "QLinearMatMul",
        "QuantizeLinear",
    }
)
_FLOATS = (onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE, onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16)


class Span(Struct, frozen=True):
    """Where the data of a tensor lie outside of the model's file."""

    location: str
    offset: int
    length: int


def parsed(data: bytes) -> onnx.ModelProto:
    """The protobuf, nothing followed that it names. Raises SourceError "source_malformed"."""
    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
    except DecodeError:
        raise SourceError("source_malformed", "the file is no ONNX model") from None
    if not model.graph.node or not model.graph.output:
        raise SourceError("source_malformed", "the file is no ONNX model, or one that computes nothing")
    # protobuf gives bytes in place of a text that is no UTF-8
    if not all(isinstance(name, str) and name.isprintable() and len(name) <= MAX_NAME for name in _names(model)):
        raise SourceError("source_malformed", "a name in the file is no printable text, or far too long")
    return model


def parts(message: Any, kind: type[P]) -> Iterator[P]:
    """Every message of a kind within another, at any depth: in subgraphs, functions, attributes."""
    if isinstance(message, kind):
        yield message
    for field, value in message.ListFields():
        if field.message_type is not None:
            for part in (value,) if isinstance(value, Message) else value:
                yield from parts(part, kind)


def external(model: onnx.ModelProto) -> list[Span]:
    """Where data lie in other files, for each such tensor. Raises SourceError "source_external"."""
    return [_span(tensor) for tensor in _external(model)]


def embed(model: onnx.ModelProto, blocks: Mapping[str, bytes]) -> None:
    """Put the data of other files, by location, into the model. Raises SourceError "source_external"."""
    for tensor in _external(model):
        span = _span(tensor)
        data = blocks[span.location][span.offset : span.offset + span.length]
        if len(data) != span.length:
            raise SourceError("source_external", f"{span.location} is too short for {tensor.name[:80]!r}")
        tensor.raw_data = data
        tensor.ClearField("external_data")
        tensor.ClearField("data_location")


def refuse_foreign(model: onnx.ModelProto) -> None:
    """Raises SourceError for operators of other domains than ONNX's own: source_code where they would need a library
    of their own, source_unsupported where a runtime put them there or the model was quantised already."""
    functions = {(function.domain, function.name) for function in model.functions}
    for node in parts(model, onnx.NodeProto):
        called = f"{node.domain[:80]!r} {node.op_type[:80]!r}"
        if (node.domain, node.op_type) in functions:
            continue
        if node.domain in _RUNTIME_DOMAINS:
            raise SourceError(
                "source_unsupported", f"{called} is an operator of one runtime: bring the file before that"
            )
        if node.domain not in _OWN_DOMAINS:
            raise SourceError("source_code", f"the operator {called} needs a library of its own")
        if node.op_type in _QUANTISED:
            raise SourceError("source_unsupported", f"{called}: the weights are quantised already; bring the original")
    for value in (*model.graph.input, *model.graph.output):
        element = value.type.tensor_type.elem_type
        if element in (onnx.TensorProto.UNDEFINED, onnx.TensorProto.STRING) or not value.type.tensor_type.HasField(
            "shape"
        ):
            raise SourceError("source_unsupported", f"{value.name[:80]!r} is no tensor of numbers of a known rank")


def check(model: onnx.ModelProto) -> None:
    """Unfold the functions of a whole model and hold the rest against the standard and a bound on sizes.

    Raises SourceError: source_malformed, source_too_large, source_weights where a tensor holds NaN.
    """
    model.ClearField("training_info")  # graphs that never run here
    try:
        if model.functions:
            _bound_unfolding(model)
            model.CopyFrom(inliner.inline_local_functions(model))
        small = light(model)
        checker.check_model(small)
        inferred = shape_inference.infer_shapes(small)
    except (checker.ValidationError, shape_inference.InferenceError, ValueError, RuntimeError, MemoryError) as error:
        raise SourceError("source_malformed", f"the file does not keep to ONNX: {str(error)[:300]!r}") from None
    for value in parts(inferred, onnx.ValueInfoProto):
        dims = [dim.dim_value for dim in value.type.tensor_type.shape.dim if dim.HasField("dim_value")]
        if prod(max(dim, 1) for dim in dims) > MAX_NUMBERS:
            raise SourceError("source_too_large", f"{value.name[:80]!r} would hold {dims} numbers")
    for tensor in parts(model, onnx.TensorProto):
        try:
            numbers = numpy_helper.to_array(tensor)
        except (KeyError, TypeError, ValueError) as error:
            raise SourceError("source_malformed", f"the tensor {tensor.name[:80]!r}: {str(error)[:200]!r}") from None
        if tensor.data_type in _FLOATS and np.isnan(numbers).any():
            raise SourceError("source_weights", f"the tensor {tensor.name[:80]!r} holds NaN")


def light(model: onnx.ModelProto) -> onnx.ModelProto:
    """The graph with its large weights as inputs: enough for what looks at shapes only, and takes copies to do so."""
    small = onnx.ModelProto(ir_version=model.ir_version, opset_import=model.opset_import)
    graph = model.graph
    given = {value.name for value in graph.input}
    small.graph.name = graph.name
    small.graph.node.extend(graph.node)
    small.graph.input.extend(graph.input)
    small.graph.output.extend(graph.output)
    small.graph.sparse_initializer.extend(graph.sparse_initializer)
    for tensor in graph.initializer:
        if tensor.ByteSize() < _LARGE:
            small.graph.initializer.append(tensor)
        elif tensor.name not in given:
            small.graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    return small


def parameters(model: onnx.ModelProto) -> int:
    """How many numbers the weights have."""
    return sum(prod(tensor.dims) for graph in parts(model, onnx.GraphProto) for tensor in graph.initializer)


def classifies(model: onnx.ModelProto) -> bool:
    """Whether the one output is a distribution over classes, (batch, classes), by a softmax at the end."""
    graph = model.graph
    if len(graph.output) != 1 or len(graph.output[0].type.tensor_type.shape.dim) != 2:
        return False
    makers = {name: node for node in graph.node for name in node.output}
    node = makers.get(graph.output[0].name)
    for _ in graph.node:
        if node is None or node.op_type != "Identity" or not node.input:
            break
        node = makers.get(node.input[0])
    return node is not None and node.op_type in ("Softmax", "LogSoftmax")


def _names(model: onnx.ModelProto) -> Iterator[str | bytes]:
    """All that names something in the file."""
    for message in parts(model, Message):
        for field, value in message.ListFields():
            if field.message_type is None and field.name in _NAMES:
                yield from (value,) if isinstance(value, str | bytes) else value


def _external(model: onnx.ModelProto) -> Iterable[onnx.TensorProto]:
    for tensor in parts(model, onnx.TensorProto):
        if tensor.data_location != onnx.TensorProto.DEFAULT or tensor.external_data:
            yield tensor


def _span(tensor: onnx.TensorProto) -> Span:
    """Raises SourceError "source_external" where it is not the bytes of the tensor's own type and shape."""
    named = {entry.key: entry.value for entry in tensor.external_data}
    try:
        size = prod(tensor.dims) * helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
        length = int(named.get("length", size))
        span = Span(str(named["location"]), int(named.get("offset", 0)), length)
    except (KeyError, ValueError, TypeError):
        raise SourceError("source_external", f"the data of {tensor.name[:80]!r} lie nowhere that can be read") from None
    if span.offset < 0 or span.length != size or any(dim < 0 for dim in tensor.dims) or tensor.raw_data:
        raise SourceError("source_external", f"the data of {tensor.name[:80]!r} do not fit its shape")
    return span


def _bound_unfolding(model: onnx.ModelProto) -> None:
    """Raises ValueError where functions call themselves, or unfold to more nodes than any model has."""
    functions = {(function.domain, function.name): function for function in model.functions}
    sizes: dict[tuple[str, str], int] = {}

    def size(message: Any, calling: tuple[tuple[str, str], ...]) -> int:
        total = 0
        for node in parts(message, onnx.NodeProto):
            key = (node.domain, node.op_type)
            if key in calling:
                raise ValueError("a function calls itself")
            if key in functions and key not in sizes:
                sizes[key] = size(functions[key], (*calling, key))
            total += sizes.get(key, 1)
        if total > MAX_NODES:
            raise ValueError(f"the functions unfold to more than {MAX_NODES} nodes")
        return total

    size(model.graph, ())
