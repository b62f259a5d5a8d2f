"""The residual stream of a transformer: the sums that all its networks add to, and the normalisations that read it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import onnx
from onnx import helper

from toolkit.compress.layers import Graph, Layer

__all__ = ["Norm", "Place", "Stream", "streams"]


class Norm(NamedTuple):
    """A LayerNormalization over the last axis with a constant scale; `taken` is the sum that it takes."""

    node: onnx.NodeProto
    taken: str
    given: str
    epsilon: float


class Place(NamedTuple):
    """An input of a node."""

    node: onnx.NodeProto
    slot: int

    @property
    def name(self) -> str:
        return str(self.node.input[self.slot])


class Stream(NamedTuple):
    """Sums that share their channels: what is added to one of them is part of the next. Of a model that normalises
    before each network all sums are one stream; of one that normalises after each, every sum is a stream of its own.

    Into it come what `layers` give, rows of `tables`, `constants`, and, at `shortcuts`, what normalisations of other
    streams give. Only its `norms` read it.
    """

    norms: tuple[Norm, ...]
    layers: tuple[Layer, ...]
    tables: tuple[str, ...]
    constants: tuple[Place, ...]
    shortcuts: tuple[Place, ...]


def streams(graph: Graph) -> list[Stream]:
    """Those of a graph, in its order.

    Raises CompressionError "step_failed" where there is none, or something else reads or writes one, by its name.
    """
    norms = {norm.given: norm for norm in _norms(graph)}
    apart: list[tuple[set[str], list[Norm]]] = []
    for norm in norms.values():
        sums, read = _sums(graph, norm.taken, norms), [norm]
        for other in [other for other in apart if other[0] & sums]:
            apart.remove(other)
            sums, read = sums | other[0], other[1] + read
        apart.append((sums, read))
    if not apart:
        raise graph.failed("the graph has no sums that are normalised")
    return [_stream(graph, sums, read, norms) for sums, read in apart]


def _norms(graph: Graph) -> Iterator[Norm]:
    """Those that read a sum, or rows of a table."""
    for node in graph.model.graph.node:
        attributes = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
        if node.op_type != "LayerNormalization" or attributes.get("axis", -1) not in (-1, 2) or len(node.output) > 1:
            continue
        maker, scale = graph.maker(node.input[0]), graph.constant(node.input[1])
        if maker is None or scale is None or scale.ndim != 1:
            continue
        summed = maker.op_type == "Add" and all(graph.constant(name) is None for name in maker.input)
        if summed or (maker.op_type == "Gather" and graph.constant(maker.input[0]) is not None):
            yield Norm(node, node.input[0], node.output[0], float(attributes.get("epsilon", 1e-5)))


def _sums(graph: Graph, start: str, norms: dict[str, Norm]) -> set[str]:
    """The tensors that a sum is made from, with itself, as far as they have its channels."""
    found: set[str] = set()
    waiting = [start]
    while waiting:
        name = waiting.pop()
        if name in found or name in norms or graph.constant(name) is not None:
            continue
        found.add(name)
        maker = graph.maker(name)
        if maker is not None and maker.op_type == "Add":
            waiting += maker.input
    return found


def _stream(graph: Graph, sums: set[str], read: list[Norm], norms: dict[str, Norm]) -> Stream:
    layers = {layer.node.output[0]: layer for layer in graph.layers if layer.linear}
    tables = graph.tables()
    writing: list[Layer] = []
    looked: list[str] = []
    constants: list[Place] = []
    shortcuts: list[Place] = []
    nodes = [node for node in graph.model.graph.node if sums.intersection(node.output)]
    for node in nodes:
        name = node.output[0]
        if name in layers and layers[name].input not in norms:
            writing.append(layers[name])
            if node.op_type == "Gemm" and len(node.input) > 2:
                constants.append(Place(node, 2))
        elif node.op_type == "Gather" and sums.issuperset(_looked_up(tables, node)):
            looked.append(node.input[0])
        elif node.op_type == "Add":
            constants += (Place(node, at) for at, one in enumerate(node.input) if graph.constant(one) is not None)
            shortcuts += (Place(node, at) for at, one in enumerate(node.input) if one in norms)
        else:
            raise graph.failed(f"{node.name} writes into the stream, and is no layer and no look-up")
        users = graph.users(name)
        others = [user.name for user in users or () if user.op_type != "Add" and user.output[0] not in norms]
        if users is None or others or any(user.op_type == "Add" and user.output[0] not in sums for user in users):
            raise graph.failed(f"{', '.join(others) or 'something'} reads {name}, which is not normalised yet")
    channels = {_channels(graph, norm.node.input[1]) for norm in read} | {
        _channels(graph, one.name) for one in constants
    }
    if len(channels) > 1:
        raise graph.failed(f"{nodes[-1].name}: what is added to the stream is not of the same channels")
    if sums - {name for node in nodes for name in node.output}:
        raise graph.failed("an input of the model is part of the stream")
    return Stream(tuple(read), tuple(writing), tuple(dict.fromkeys(looked)), tuple(constants), tuple(shortcuts))


def _looked_up(tables: dict[str, list[onnx.NodeProto]], node: onnx.NodeProto) -> list[str]:
    """All that is looked up in the table of a node, with that node; a name that nothing has, where it is no table."""
    return [user.output[0] for user in tables[node.input[0]]] if node.input[0] in tables else [""]


def _channels(graph: Graph, name: str) -> int:
    value = graph.constant(name)
    return 0 if value is None or value.ndim == 0 else int(value.shape[-1])
