"""Where the scale of a channel comes from: what must be divided so that a tensor is, and all else stays what it was."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import onnx
from numpy.typing import NDArray

from toolkit.compress.layers import Graph, Layer

__all__ = ["Origin", "Place", "divide", "multiply_inputs", "origin"]

# f(x / s) = f(x) / s for every s > 0 and each channel by itself
_HOMOGENEOUS = frozenset({"Abs", "Identity", "LeakyRelu", "Neg", "PRelu", "Relu"})
_POOLS = frozenset({"AveragePool", "GlobalAveragePool", "GlobalMaxPool", "MaxPool"})
_NORMALISING = frozenset(
    {"LayerNormalization", "RMSNormalization", "SimplifiedLayerNormalization", "SkipSimplifiedLayerNormalization"}
)


class Place(NamedTuple):
    """A constant vector, one number for each channel, that an input of a node is."""

    node: onnx.NodeProto
    slot: int


class Origin(NamedTuple):
    """What a tensor's channels are scaled by: constant vectors, and the weights of a layer where there is one."""

    places: tuple[Place, ...]
    layer: Layer | None


def origin(graph: Graph, name: str, axis: int, channels: int) -> Origin | None:
    """What to divide so that each channel of a tensor is divided, and no other tensor is but those on the way to it.

    `axis` counts from the end. The caller sees to the tensor's own users. None where there is no such place.
    """
    places: list[Place] = []
    while (node := graph.maker(name)) is not None:
        if (layer := next((layer for layer in graph.layers if layer.node is node), None)) is not None:
            outputs = graph.matrix(layer).shape[:2]
            if layer.axis != axis or outputs[0] * outputs[1] != channels:
                return None
            if len(node.input) > 2 and node.input[2]:
                if not _vector(graph, node.input[2], -1, channels):
                    return None
                places.append(Place(node, 2))
            return Origin(tuple(places), layer)
        if node.op_type in _NORMALISING and axis == -1 and _over_last(node):
            if node.output[0] != name:
                return None  # the sum that was normalised
            first = 2 if node.op_type.startswith("Skip") else 1
            vectors = [index for index in range(first, len(node.input)) if node.input[index]]
            if not all(_vector(graph, node.input[index], axis, channels) for index in vectors):
                return None
            return Origin((*places, *(Place(node, index) for index in vectors)), None)
        if node.op_type in ("Add", "Mul"):
            constant = next((index for index in (0, 1) if _vector(graph, node.input[index], axis, channels)), None)
            if constant is None:
                return None
            places.append(Place(node, constant))
            if node.op_type == "Mul":
                return Origin(tuple(places), None)
            before = node.input[1 - constant]
        elif node.op_type in _HOMOGENEOUS or (node.op_type in _POOLS and axis < -1):
            before = node.input[0]
        elif node.op_type == "Reshape" and (values := _attended(graph, node, channels)) is not None and axis == -1:
            before = values
        else:
            return None
        users = graph.users(before)
        if users is None or len(users) != 1:
            return None
        name = before
    return None


def divide(graph: Graph, found: Origin, factor: NDArray[np.float32]) -> None:
    """Divide the channels at their origin by a vector (channels,)."""
    for node, index in found.places:
        vector = graph.constant(node.input[index])
        assert vector is not None  # noqa: S101 - origin looked
        graph.put(node, index, (vector / factor.reshape(vector.shape)).astype(np.float32))
    if found.layer is not None:
        matrix = graph.matrix(found.layer)
        graph.write(found.layer, matrix / factor.reshape(matrix.shape[0], -1, 1, 1))


def multiply_inputs(graph: Graph, layer: Layer, factor: NDArray[np.float32]) -> None:
    """Multiply the weights of a layer so that it can take an input that was divided by a vector (channels,)."""
    matrix = graph.matrix(layer)
    graph.write(layer, matrix * factor.reshape(matrix.shape[0], 1, -1, 1))


def _vector(graph: Graph, name: str, axis: int, channels: int) -> bool:
    value = graph.constant(name)
    return (
        value is not None
        and value.dtype == np.float32
        and value.ndim >= -axis
        and value.shape[axis] == value.size == channels
    )


def _over_last(node: onnx.NodeProto) -> bool:
    return all(attribute.i == -1 for attribute in node.attribute if attribute.name == "axis")


def _attended(graph: Graph, merge: onnx.NodeProto, channels: int) -> str | None:
    """The values of an attention whose heads a Reshape merges: attention mixes positions, never channels.

    The tensor (batch, tokens, channels) before it is split into heads, where that is plain to see.
    """
    back = graph.maker(merge.input[0])
    product = graph.maker(back.input[0]) if back is not None and _swaps(back) else None
    swap = graph.maker(product.input[1]) if product is not None and product.op_type == "MatMul" else None
    split = graph.maker(swap.input[0]) if swap is not None and _swaps(swap) else None
    if back is None or product is None or swap is None or split is None or split.op_type != "Reshape":
        return None
    inside = (back.output[0], product.output[0], swap.output[0], split.output[0])
    if any(users is None or len(users) != 1 for users in map(graph.users, inside)):
        return None
    whole, heads = graph.shapes.get(split.input[0], ()), graph.shapes.get(split.output[0], ())
    if len(whole) != 3 or len(heads) != 4 or whole[:2] != heads[:2] or whole[2] != channels:
        return None
    # the same shapes on the way back, so the same channels
    same = graph.shapes.get(merge.input[0]) == heads and graph.shapes.get(merge.output[0]) == whole
    return str(split.input[0]) if same else None


def _swaps(node: onnx.NodeProto) -> bool:
    return node.op_type == "Transpose" and any(list(attribute.ints) == [0, 2, 1, 3] for attribute in node.attribute)
