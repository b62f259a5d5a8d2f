"""Channels inside of a network: made by layers, changed one by one, and taken by a layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from toolkit.compress.channels import Place
from toolkit.compress.layers import RUNTIME, Graph, Layer

__all__ = ["ALONE", "PAIRED", "Fitted", "Inner", "Width", "columns", "flat", "neurons", "taken_out"]

# what makes each number from one number
ALONE = frozenset(
    {"Abs", "Celu", "Clip", "Elu", "Erf", "Exp", "Gelu", "HardSigmoid", "HardSwish", "Identity", "LeakyRelu", "Log"}
    | {"Mish", "Neg", "QuickGelu", "Reciprocal", "Relu", "Selu", "Sigmoid", "Softplus", "Softsign", "Sqrt", "Swish"}
    | {"Tanh", "ThresholdedRelu"}
)
# what makes each number from one number of each input, or of a vector or a number that stands for all
PAIRED = frozenset({"Add", "BiasGelu", "Div", "FastGelu", "Max", "Min", "Mul", "PRelu", "Pow", "Sub"})


# weights, and what is added to the bias
Fitted = tuple[NDArray[np.float32], NDArray[np.float32]]


class Width(NamedTuple):
    """A number in a constant shape that is `unit` times the number of groups; with 0 it becomes -1, what is left."""

    place: Place
    at: int
    unit: int


class Inner(NamedTuple):
    """Channels in `groups` of `size` neighbours each, which can be taken out together: what one layer takes, what
    others give (as many groups, perhaps of another size), vectors with a number for each of their channels, and shapes
    that count them. `along` are convolutions that work on each of the channels by itself, `also` further layers that
    take what becomes of them."""

    taker: Layer
    makers: tuple[Layer, ...]
    vectors: tuple[Place, ...]
    groups: int
    size: int
    widths: tuple[Width, ...] = ()
    along: tuple[Layer, ...] = ()
    also: tuple[Layer, ...] = ()


def neurons(graph: Graph) -> list[Inner]:
    """The feed-forward networks of a graph: linear layers, then what works on each channel by itself, gates too, then
    a linear layer that alone takes the result."""
    found = []
    for layer in graph.layers:
        inner = _before(graph, layer) if layer.linear else None
        if inner is not None:
            found.append(inner)
    return found


def flat(graph: Graph, layer: Layer) -> NDArray[np.float32]:
    """The weights of a layer without groups, (outputs, channels); of a convolution the positions of its kernel count
    as so many outputs, one behind the other."""
    matrix: NDArray[np.float32] = graph.matrix(layer)[0]
    rows: NDArray[np.float32] = matrix.swapaxes(1, 2).reshape(-1, matrix.shape[1])
    return rows


def taken_out(graph: Graph, inner: Inner, kept: NDArray[np.intp], fitted: Sequence[Fitted]) -> None:
    """Leave only the groups `kept`. The layer that takes them, and then each of those that take them also, gets the
    weights (outputs, channels that stay) as `flat` gives them, and a shift (outputs,) on its bias."""
    for layer in inner.makers:
        matrix = graph.matrix(layer)
        graph.write(layer, matrix[:, columns(kept, matrix.shape[1] // inner.groups)])
    for layer in inner.along:
        graph.write(layer, graph.matrix(layer)[kept])
        next(one for one in layer.node.attribute if one.name == "group").i = len(kept)
    for node, slot in inner.vectors:
        vector = graph.constant(node.input[slot])
        assert vector is not None  # noqa: S101 - it was found there
        axis = vector.shape.index(vector.size)
        graph.put(node, slot, vector.take(columns(kept, vector.size // inner.groups), axis))
    for (node, slot), at, unit in inner.widths:
        shape = graph.constant(node.input[slot])
        assert shape is not None  # noqa: S101 - it was found there
        changed = shape.copy()
        changed[at] = unit * len(kept) or -1
        graph.put(node, slot, changed)
    for layer, (taking, shift) in zip((inner.taker, *inner.also), fitted, strict=True):
        outputs, _, positions = graph.matrix(layer).shape[1:]
        graph.write(layer, taking.reshape(outputs, positions, -1).swapaxes(1, 2)[None])
        # a shift on each position of a kernel is one on their sum
        if shift.any():
            graph.shift(layer, shift.reshape(outputs, positions).sum(axis=1))


def columns(groups: NDArray[np.intp], size: int) -> NDArray[np.intp]:
    """The numbers of the channels of groups of a size."""
    return (groups[:, None] * size + np.arange(size)).reshape(-1)


def _before(graph: Graph, taker: Layer) -> Inner | None:
    """What a layer takes, back to the layers that make it. None where there is more to it than single channels."""
    width = graph.matrix(taker).shape[2]
    makers: list[Layer] = []
    vectors: list[Place] = []
    between = {taker.name}
    inside: set[str] = set()
    waiting = [taker.input]
    while waiting:
        if (name := waiting.pop()) in inside:
            continue
        inside.add(name)
        node = graph.maker(name)
        if node is None or len(node.output) != 1:
            return None
        between.add(node.name)
        layer = next((layer for layer in graph.layers if layer.node is node), None)
        if layer is not None:
            if not layer.linear or graph.matrix(layer).shape[1] != width:
                return None
            makers.append(layer)
            taken = list(node.input[2:])
        elif node.domain in ("", "ai.onnx", RUNTIME) and node.op_type in ALONE | PAIRED:
            taken = list(node.input)
        else:
            return None
        for slot, given in enumerate(taken, start=len(node.input) - len(taken)):
            value = graph.constant(given)
            if value is None and given and layer is None and (slot == 0 or node.op_type in PAIRED):
                waiting.append(given)
            elif value is not None and value.shape[-1:] == (value.size,) == (width,):
                vectors.append(Place(node, slot))
            elif given and (value is None or value.size != 1):
                return None
    users = [graph.users(name) for name in inside]
    alone = all(some is not None and all(user.name in between for user in some) for some in users)
    alone = alone and not any(layer.input in inside for layer in makers)
    return Inner(taker, tuple(makers), tuple(vectors), width, 1) if makers and alone else None
