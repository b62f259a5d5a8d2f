"""The heads of attentions: found by what the graph computes, from the layer that takes them back to those that make
queries, keys and values."""

from __future__ import annotations

from typing import NamedTuple

import onnx

from toolkit.compress.channels import Place
from toolkit.compress.inner import Inner, Width
from toolkit.compress.layers import Graph, Layer

__all__ = ["heads"]

_SWAP = [0, 2, 1, 3]  # (batch, tokens, heads, size) to (batch, heads, tokens, size), and back
_HEADS = 1  # the axis of the heads where they are multiplied
_MIXED = "something between its scores and its softmax may be another for each head"


def heads(graph: Graph) -> list[Inner]:
    """The attentions whose heads can be taken out one by one. What is in the way of another is `left`."""
    found = []
    for layer in graph.layers:
        merge = _alone(graph, layer.input) if layer.linear else None
        back = _alone(graph, merge.input[0]) if merge is not None and merge.op_type == "Reshape" else None
        product = _alone(graph, back.input[0]) if back is not None and _perm(back) == _SWAP else None
        if merge is None or product is None or product.op_type != "MatMul":
            continue
        inner = _attention(graph, layer, merge, product)
        if isinstance(inner, str):
            graph.left.append(f"{layer.name}: {inner}")
        else:
            found.append(inner)
    return found


class _Side(NamedTuple):
    """Queries, keys or values: the layer that makes them, vectors on the way, and what splits them into `heads`."""

    layer: Layer
    vectors: tuple[Place, ...]
    split: onnx.NodeProto
    heads: int


def _attention(graph: Graph, taker: Layer, merge: onnx.NodeProto, product: onnx.NodeProto) -> Inner | str:
    """The heads before a layer, or what is in the way."""
    scores = _scores(graph, product.input[0])
    if scores is None:
        return _MIXED
    sides = [_side(graph, name) for name in (*scores.input, product.input[1])]
    if any(side is None for side in sides):
        return "its queries, keys or values are not made by a layer each"
    plain = [side for side in sides if side is not None]
    count, channels = plain[0].heads, graph.matrix(taker).shape[2]
    if any(side.heads != count for side in plain) or channels % count or len({side.layer for side in plain}) < 3:
        return "its queries, keys and values are not as many heads of layers of their own"
    widths: list[Width] = []
    for node, index, unit in (*((side.split, -2, 1) for side in plain), (merge, -1, channels // count)):
        width = _width(graph, node, index, unit, count)
        if width is None:
            return "the number of its heads is computed"
        widths.extend(width)
    layers = tuple(side.layer for side in plain)
    vectors = tuple(place for side in plain for place in side.vectors)
    return Inner(taker, layers, vectors, count, channels // count, tuple(widths))


def _scores(graph: Graph, name: str) -> onnx.NodeProto | None:
    """The product of queries and keys that the weights of an attention come from, the same way for each head."""
    node = _alone(graph, name)
    if node is None or node.op_type not in ("Add", "Div", "Identity", "MatMul", "Mul", "Softmax", "Where"):
        return None
    if node.op_type == "MatMul":
        return node
    if node.op_type == "Softmax" and any(attribute.i not in (-1, 3) for attribute in node.attribute):
        return None
    for slot, given in enumerate(node.input):
        others = [other for number, other in enumerate(node.input) if number != slot]
        if graph.constant(given) is None and all(_same_for_heads(graph, other) for other in others):
            found = _scores(graph, given)
            if found is not None:
                return found
    return None


def _side(graph: Graph, name: str) -> _Side | None:
    axis = _HEADS
    vectors: list[Place] = []
    split: onnx.NodeProto | None = None
    while (node := _alone(graph, name)) is not None:
        layer = next((layer for layer in graph.layers if layer.node is node), None)
        constants = [slot for slot, given in enumerate(node.input) if graph.constant(given) is not None]
        if layer is not None and split is not None:
            outputs = graph.matrix(layer).shape[1]
            vectors += [Place(node, slot) for slot in constants if slot == 2]
            count = _count(graph, split, outputs)
            fits = layer.linear and all(_size(graph, place) == outputs for place in vectors)
            return _Side(layer, tuple(vectors), split, count) if fits and count > 1 and outputs % count == 0 else None
        if node.op_type == "Transpose" and split is None:
            axis = _perm(node)[axis]
        elif node.op_type == "Reshape" and split is None and axis == 2:
            split = node
        elif node.op_type in ("Add", "Div", "Mul") and len(constants) == 1:
            place = Place(node, constants[0])
            if _size(graph, place) != 1:
                if split is None:
                    return None
                vectors.append(place)
            name = node.input[1 - constants[0]]
            continue
        elif node.op_type != "Identity":
            return None
        name = node.input[0]
    return None


def _count(graph: Graph, split: onnx.NodeProto, channels: int) -> int:
    """How many heads a Reshape makes of channels; 0 where that is computed."""
    entries = _entries(graph, split)
    if len(entries) < 2:
        return 0
    count, size = entries[-2][0], entries[-1][0]
    if count == -1:
        return channels // size if size > 0 and channels % size == 0 else 0
    return count if count > 0 and size in (-1, channels // count) else 0


def _width(graph: Graph, reshape: onnx.NodeProto, index: int, unit: int, count: int) -> list[Width] | None:
    """What of a Reshape's shape must change with the number of heads. None where it cannot be changed."""
    entries = _entries(graph, reshape)
    if len(entries) < -index:
        return None
    value, place, at = entries[index]
    if value == -1:
        return []
    if value != unit * count:
        return None
    if place.node is reshape:
        return [Width(place, at, unit)]
    # the shape is put together by a node that other attentions may use: "whatever is left" is right for all of them
    users = graph.users(place.node.output[0])
    reshapes = users is not None and all(user.op_type == "Reshape" for user in users)
    return [Width(place, at, 0)] if reshapes and all(entry[0] > 0 for entry in entries) else None


def _entries(graph: Graph, reshape: onnx.NodeProto) -> list[tuple[int, Place, int]]:
    """The numbers of a Reshape's shape with where each stands, from the last back to the first that is computed."""
    found: list[tuple[int, Place, int]] = []
    maker = graph.maker(reshape.input[1])
    joined = maker is not None and maker.op_type == "Concat"
    places = [Place(maker, slot) for slot in range(len(maker.input))] if maker is not None and joined else []
    for place in reversed(places or [Place(reshape, 1)]):
        vector = graph.constant(place.node.input[place.slot])
        if vector is None or vector.ndim != 1:
            break
        found = [(int(number), place, at) for at, number in enumerate(vector)] + found
    return found


def _same_for_heads(graph: Graph, name: str) -> bool:
    """Whether a tensor that meets scores (batch, heads, tokens, tokens) has nothing of its own for each head."""
    value = graph.constant(name)
    shape = graph.shapes.get(name) if value is None else value.shape
    return shape is not None and (len(shape) < 3 or shape[-3] == 1)


def _alone(graph: Graph, name: str) -> onnx.NodeProto | None:
    """What makes a tensor that one node uses, and nothing else."""
    users = graph.users(name)
    return graph.maker(name) if users is not None and len(users) == 1 else None


def _perm(node: onnx.NodeProto) -> list[int]:
    return next((list(attribute.ints) for attribute in node.attribute if attribute.name == "perm"), [0, 0, 0, 0])


def _size(graph: Graph, place: Place) -> int:
    value = graph.constant(place.node.input[place.slot])
    assert value is not None  # noqa: S101 - it was found there
    return int(value.size)
