"""The weights of an ONNX file: how they are stored, and what a step reports of them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterable, Iterator

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]  # its types are a package of their own
from onnx import TensorProto

from toolkit.compress.errors import CompressionError
from toolkit.compress.results import TensorSize
from toolkit.compress.serialise import serialise
from toolkit.compress.step import StepReport
from toolkit.runtime.wire import holds_external_data

__all__ = ["finished", "floats_left", "opened", "stored", "tensor_sizes"]

_PACKED = {"INT4": 4, "UINT4": 4, "INT2": 2, "UINT2": 2}


def opened(model: bytes, kind: str) -> onnx.ModelProto:
    """The model a step was given; a node without a name bears that of its first output, so that it can be excluded.

    Raises CompressionError "step_failed" for what is no model, has no node or keeps weights in other files.
    """
    try:
        external = holds_external_data(model)
        opened = onnx.load_from_string(model)
    except (DecodeError, ValueError) as error:
        raise CompressionError("step_failed", f"{kind}: the file is no ONNX model ({type(error).__name__})") from None
    if external or not opened.graph.node:
        what = "a tensor of the model lies in another file" if external else "the model has no node"
        raise CompressionError("step_failed", f"{kind}: {what}")
    for node in opened.graph.node:
        node.name = node.name or node.output[0]
    return opened


def finished(kind: str, before: bytes, model: onnx.ModelProto, left: Iterable[str] = ()) -> tuple[bytes, StepReport]:
    """The file of a changed model, each node of which has a name, and the report that is true to it."""
    for node in model.graph.node:
        node.name = node.name or node.output[0]
    after = serialise(model)
    return after, StepReport(
        kind=kind, bytes_before=len(before), bytes_after=len(after), weights=stored(model), left=tuple(left)
    )


def stored(model: onnx.ModelProto) -> dict[str, int]:
    """The bytes of the initializers by type, by name: {"float32": 4000, "int8": 1000}. Packed types count packed."""
    sizes: Counter[str] = Counter()
    for tensor in _initializers(model.graph):
        sizes[_stored(tensor)] += _bytes(tensor)
    return dict(sorted(sizes.items()))


def tensor_sizes(model: bytes) -> tuple[TensorSize, ...]:
    """Every stored tensor of an ONNX file, the largest first."""
    sizes = [
        TensorSize(name=tensor.name, stored=_stored(tensor), size_bytes=_bytes(tensor))
        for tensor in _initializers(onnx.load_from_string(model).graph)
    ]
    return tuple(sorted(sizes, key=lambda size: (-size.size_bytes, size.name)))


def floats_left(model: onnx.ModelProto, besides: Collection[str] = ()) -> tuple[str, ...]:
    """What is still a float and has two dimensions or more, as lines of a report: quantisers skip in silence.
    `besides` are names that count for nothing, such as scales."""
    return tuple(
        f"{tensor.name}: stays float32, {4 * math.prod(tensor.dims)} bytes"
        for tensor in _initializers(model.graph)
        if tensor.name not in besides
        and tensor.data_type == TensorProto.FLOAT
        and sum(dim > 1 for dim in tensor.dims) > 1
    )


def _stored(tensor: TensorProto) -> str:
    name: str = TensorProto.DataType.Name(tensor.data_type).lower()
    return "float32" if name == "float" else name


def _bytes(tensor: TensorProto) -> int:
    packed: int | None = _PACKED.get(TensorProto.DataType.Name(tensor.data_type))
    bits = packed or 8 * int(onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize)
    return math.ceil(math.prod(map(int, tensor.dims)) * bits / 8)


def _initializers(graph: onnx.GraphProto) -> Iterator[TensorProto]:
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                yield from _initializers(inner)
