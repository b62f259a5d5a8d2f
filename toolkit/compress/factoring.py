"""The linear layers of a whole graph in two factors each: of what rank, by what that does to the answer."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from toolkit.compress.calibration import Calibration
from toolkit.compress.layers import Graph, Layer
from toolkit.compress.low_rank import Factors, factors
from toolkit.compress.serialise import serialise
from toolkit.compress.statistics import moments
from toolkit.compress.thinning import cheapest, weighed

__all__ = ["factorise"]


class _Shared(NamedTuple):
    """Layers that take the same tensor: they share the factor that takes it. `outputs` is how many each gives."""

    layers: tuple[Layer, ...]
    outputs: tuple[int, ...]
    inputs: int

    def weights(self, graph: Graph) -> NDArray[np.float32]:
        """One above the other, (outputs, inputs)."""
        return np.concatenate([graph.matrix(layer)[0, :, :, 0] for layer in self.layers])

    def numbers(self, rank: int) -> int:
        """How many weights there are with a rank."""
        return rank * (sum(self.outputs) + self.inputs)


def factorise(graph: Graph, data: Calibration, *, keep: float, multiple: int, aware: bool) -> None:
    """Leave a share of the weights of all linear layers; ranks are multiples of `multiple`.

    Raises CompressionError "step_failed" where no layer is large enough, or there is no data.
    """
    found = _found(graph, multiple)
    if not found:
        raise graph.failed("the graph has no linear layer that two factors would make smaller")
    key = f"factorise {multiple} {aware} {graph.digest}"
    made, weights = data.once(key, lambda: _learned(graph, found, data, multiple, aware=aware))
    sizes: list[NDArray[np.int_]] = []
    losses: list[NDArray[np.float64]] = []
    ranks: list[list[int]] = []
    for shared, one, weight in zip(found, made, weights, strict=True):
        tried = _ranks(shared, one, multiple)
        whole = sum(shared.outputs) * shared.inputs
        sizes.append(np.array([whole, *map(shared.numbers, tried)]))
        losses.append(weight * np.array([0.0, *one.lost[tried]]))
        ranks.append([0, *tried])
    chosen = cheapest(sizes, losses, keep * sum(float(size[0]) for size in sizes))
    for shared, one, tried, at in zip(found, made, ranks, chosen, strict=True):
        if at:
            _split(graph, shared, one, tried[at], data)


def _found(graph: Graph, multiple: int) -> list[_Shared]:
    by_input = defaultdict(list)
    for layer in graph.layers:
        if layer.linear:
            by_input[layer.input].append(layer)
    found = []
    for layers in by_input.values():
        shapes = [graph.matrix(layer).shape for layer in layers]
        shared = _Shared(tuple(layers), tuple(shape[1] for shape in shapes), shapes[0][2])
        if shared.numbers(multiple) < sum(shared.outputs) * shared.inputs:
            found.append(shared)
    return found


def _ranks(shared: _Shared, made: Factors, multiple: int) -> list[int]:
    """Those that are tried instead of the whole matrix, from high to low. The first is the one that loses least for
    what it saves: those above it hardly save anything."""
    whole = sum(shared.outputs) * shared.inputs
    every = [rank for rank in range(multiple, len(made.lost), multiple) if shared.numbers(rank) < whole]
    first = min(every, key=lambda rank: (made.lost[rank] / (whole - shared.numbers(rank)), -rank))
    return [rank for rank in reversed(every) if rank <= first]


def _learned(
    graph: Graph, found: Sequence[_Shared], data: Calibration, multiple: int, *, aware: bool
) -> tuple[list[Factors], list[float]]:
    """The factors of each, and how much of what they lose comes out in the answer."""
    seen = moments(graph, [shared.layers[0] for shared in found], data)
    made = [
        factors(shared.weights(graph), those if aware else None) for shared, (_, those) in zip(found, seen, strict=True)
    ]
    firsts = [_ranks(shared, one, multiple)[0] for shared, one in zip(found, made, strict=True)]

    def alone(number: int) -> bytes:
        changed = Graph(graph.before, graph.kind)
        _split(changed, _found(changed, multiple)[number], made[number], firsts[number], data)
        return serialise(changed.model)

    return made, weighed(graph, [float(one.lost[rank]) for one, rank in zip(made, firsts, strict=True)], alone, data)


def _split(graph: Graph, shared: _Shared, made: Factors, rank: int, data: Calibration) -> None:
    """Two factors in the place of the layers, and what they lose of the mean added to the biases."""
    weights = shared.weights(graph)
    left, right = made.first(rank)
    [(_, seen)] = moments(graph, shared.layers[:1], data)
    missing = ((weights - left.astype(np.float64) @ right) @ seen.mean).astype(np.float32)
    graph.lead(shared.layers, right)
    start = 0
    for layer, outputs in zip(shared.layers, shared.outputs, strict=True):
        part = slice(start, start + outputs)
        graph.write(layer, left[None, part, :, None])
        graph.shift(layer, missing[part])
        start += outputs
