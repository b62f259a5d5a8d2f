"""Channels of convolutions that hang together: what makes them, works on each by itself, and takes them in the end.

The groups are those of Fang et al., "DepGraph: Towards Any Structural Pruning", 2023, found on the ONNX graph itself.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import onnx

from toolkit.compress.channels import Place
from toolkit.compress.inner import ALONE, PAIRED, Inner, Width
from toolkit.compress.layers import Graph, Layer

__all__ = ["coupled"]

_POOLS = frozenset({"AveragePool", "GlobalAveragePool", "GlobalMaxPool", "LpPool", "MaxPool"})


class _Apart(Exception):
    """Why the channels of a tensor are tied to more than can be taken out."""


class _Join(NamedTuple):
    """A tensor that has the channels on its second axis, `unit` neighbours each."""

    name: str
    unit: int


def coupled(graph: Graph) -> list[Inner]:
    """The inner channels of convolutions: one layer takes them, or one and those that take means of them, as in
    squeeze-and-excitation. What is tied to more, such as the sum that runs through a network with shortcuts, is named
    in `left` of the graph."""
    found: list[Inner] = []
    done: set[str] = set()
    for layer in graph.layers:
        name = layer.node.output[0]
        if layer.linear or layer.groups > 1 or name in done:
            continue
        search = _Search(graph, graph.matrix(layer).shape[1])
        try:
            found.append(search.around(name))
        except _Apart as why:
            graph.left.append(f"{layer.name}: {why}")
        done |= search.joined.keys()
    return found


class _Search:
    """All that has to do with some channels, from one tensor that has them."""

    def __init__(self, graph: Graph, channels: int) -> None:
        self._graph = graph
        self._channels = channels
        self._layers = {layer.node.output[0]: layer for layer in graph.layers}
        self.joined: dict[str, _Join] = {}
        self._waiting: list[_Join] = []
        self._makers: list[Layer] = []
        self._along: dict[str, Layer] = {}
        self._takers: list[tuple[Layer, _Join]] = []
        self._vectors: list[Place] = []
        self._widths: list[Width] = []

    def around(self, name: str) -> Inner:
        """Raises _Apart."""
        if self._channels < 2:
            raise _Apart("it has one channel")
        self._join(_Join(name, 1))
        while self._waiting:
            join = self._waiting.pop()
            self._made(join)
            self._used(join)
        if any(maker.input in self.joined for maker in self._makers):
            raise _Apart("it adds to the channels that it takes")
        # those that take means over all places follow one that takes every place
        takers = [pair for pair in self._takers if not self._pooled(pair[1].name)] or self._takers
        if len(takers) != 1:
            raise _Apart(f"{len(takers)} layers take its channels")
        [(taker, join)] = takers
        also = tuple(layer for layer, _ in self._takers if layer is not taker)
        return Inner(
            taker,
            tuple(self._makers),
            tuple(self._vectors),
            self._channels,
            join.unit,
            tuple(self._widths),
            tuple(self._along.values()),
            also,
        )

    def _join(self, join: _Join) -> None:
        if join.name in self.joined:
            if self.joined[join.name].unit != join.unit:
                raise _Apart("its channels lie in two ways")
            return
        shape = self._graph.shapes.get(join.name, ())
        if len(shape) < 2 or shape[1] != self._channels * join.unit:
            raise _Apart("what its channels become is not known")
        self.joined[join.name] = join
        self._waiting.append(join)

    def _made(self, join: _Join) -> None:
        node = self._graph.maker(join.name)
        if node is None or len(node.output) != 1:
            raise _Apart("its channels meet what no layer makes")
        layer = self._layers.get(join.name)
        if layer is None:
            self._through(node, join)
        elif self._by_channel(layer):
            self._pass(layer)
        elif layer.groups > 1 or (layer.linear and len(self._graph.shapes[join.name]) != 2):
            raise _Apart(f"{layer.name} makes its channels in groups")
        else:
            self._makers.append(layer)
            self._bias(node)

    def _used(self, join: _Join) -> None:
        users = self._graph.users(join.name)
        if not users:
            raise _Apart("its channels leave the graph")
        for node in users:
            layer = self._layers.get(node.output[0])
            if layer is None:
                self._through(node, join)
            elif self._by_channel(layer):
                self._pass(layer)
            elif layer.groups > 1 or (layer.linear and len(self._graph.shapes[join.name]) != 2):
                raise _Apart(f"{layer.name} takes its channels in groups")
            elif all(layer is not other for other, _ in self._takers):
                self._takers.append((layer, join))

    def _by_channel(self, layer: Layer) -> bool:
        return layer.groups > 1 and self._graph.matrix(layer).shape[:3] == (self._channels, 1, 1)

    def _pass(self, layer: Layer) -> None:
        """Through a convolution of each channel by itself."""
        if layer.name not in self._along:
            self._along[layer.name] = layer
            self._bias(layer.node)
        for name in (layer.input, layer.node.output[0]):
            self._join(_Join(name, 1))

    def _through(self, node: onnx.NodeProto, join: _Join) -> None:
        """Through a node that changes each channel by itself: what it takes and gives has the same channels."""
        if node.domain not in ("", "ai.onnx") or len(node.output) != 1:
            raise _Apart(f"a node of the kind {node.op_type} works on its channels")
        kind = node.op_type
        if kind in ALONE or kind in _POOLS:
            given: list[str] = [node.input[0]]
        elif kind in PAIRED:
            given = [name for slot, name in enumerate(node.input) if not self._vector(node, slot)]
        elif kind == "BatchNormalization":
            given = [node.input[0]]
            if not all(self._vector(node, slot, whole=True) for slot in range(1, 5)):
                raise _Apart("a normalisation is computed")
        elif (kind == "ReduceMean" and self._over_places(node)) or (kind == "Pad" and self._pads_places(node)):
            given = [node.input[0]]
        elif kind in ("Flatten", "Reshape", "Squeeze"):
            self._flat(node)
            return
        else:
            raise _Apart(f"a node of the kind {kind} works on its channels")
        for name in (*given, node.output[0]):
            self._join(join._replace(name=name))

    def _flat(self, node: onnx.NodeProto) -> None:
        """(batch, channels, places...) to (batch, channels * places)."""
        before, after = (self._graph.shapes.get(name, ()) for name in (node.input[0], node.output[0]))
        places = before[2:]
        if (
            len(after) != 2
            or len(before) < 2
            or before[0] != after[0]
            or not all(isinstance(one, int) for one in places)
        ):
            raise _Apart("its channels are laid out anew")
        unit = math.prod(int(one) for one in places)
        if node.op_type == "Reshape":
            shape = self._graph.constant(node.input[1])
            if shape is None or shape.shape != (2,):
                raise _Apart("its channels are laid out anew")
            width = Width(Place(node, 1), 1, unit)
            if shape[1] != -1 and width not in self._widths:
                self._widths.append(width)
        self._join(_Join(node.input[0], 1))
        self._join(_Join(node.output[0], unit))

    def _pooled(self, name: str) -> bool:
        return all(size == 1 for size in self._graph.shapes[name][2:])

    def _bias(self, node: onnx.NodeProto) -> None:
        if len(node.input) > 2 and node.input[2] and not self._vector(node, 2, whole=True):
            raise _Apart("a bias is computed")

    def _vector(self, node: onnx.NodeProto, slot: int, *, whole: bool = False) -> bool:
        """Whether an input is a constant that has a number for each channel, which is kept, or one for all. Raises
        _Apart for another constant."""
        value = self._graph.constant(node.input[slot])
        if value is None:
            return False
        if value.size == 1 and not whole:
            return True
        rank = len(self._graph.shapes.get(node.output[0], ()))
        along = value.ndim - 1 if whole else value.ndim - rank + 1
        if value.size != self._channels or not 0 <= along < value.ndim or value.shape[along] != value.size:
            raise _Apart("a constant meets its channels that has not one number for each")
        place = Place(node, slot)
        if all(other.node is not node or other.slot != slot for other in self._vectors):
            self._vectors.append(place)
        return True

    def _over_places(self, node: onnx.NodeProto) -> bool:
        axes = [attribute.ints for attribute in node.attribute if attribute.name == "axes"]
        over = self._graph.constant(node.input[1]) if len(node.input) > 1 else None
        rank = len(self._graph.shapes.get(node.input[0], ()))
        taken = over.tolist() if over is not None else [number for some in axes for number in some]
        return bool(taken) and {int(axis) % max(rank, 1) for axis in taken} == set(range(2, rank))

    def _pads_places(self, node: onnx.NodeProto) -> bool:
        pads = self._graph.constant(node.input[1]) if len(node.input) > 1 else None
        if pads is None or (len(node.input) > 3 and node.input[3]):
            return False
        rank = pads.size // 2
        return rank > 2 and not any(pads[axis] for axis in (0, 1, rank, rank + 1))
