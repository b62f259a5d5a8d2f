"""Inner channels of a whole graph made fewer: how many of each network, by what that does to the answer, and which."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from heapq import heapify, heapreplace

import numpy as np
from numpy.typing import NDArray

from toolkit.compress.calibration import Calibration
from toolkit.compress.diagnosis import lost
from toolkit.compress.inner import Fitted, Inner, columns, flat, taken_out
from toolkit.compress.layers import Graph, Layer
from toolkit.compress.serialise import serialise
from toolkit.compress.statistics import Moments, moments
from toolkit.compress.surgery import Order, order, refitted

__all__ = ["allotted", "cheapest", "thin", "weighed"]

ITEMS = 16  # of the calibration, on which is found what a network matters to the answer

Find = Callable[[Graph], Sequence[Inner]]


def thin(graph: Graph, find: Find, data: Calibration, *, keep: float, multiple: int, repair: bool) -> None:
    """Leave a share of the groups of all inner channels that `find` finds, each counted by its weights; how many stay
    of each is a multiple of `multiple`, or all.

    Raises CompressionError "step_failed" where nothing is found, with what is in the way, or there is no data.
    """
    found = find(graph)
    if not found:
        raise graph.failed("; ".join(["the graph has nothing of the kind", *graph.left[:3]]))
    key = f"{graph.kind} {repair} {graph.digest}"
    orders, weights = data.once(key, lambda: _learned(graph, found, find, data, repair=repair))
    losses = [weight * one.lost for one, weight in zip(orders, weights, strict=True)]
    counts = allotted(losses, keep, multiple, [_numbers(graph, inner) for inner in found])
    for inner, one, count in zip(found, orders, counts, strict=True):
        if count < inner.groups:
            _thin(graph, inner, one.kept(count), data, repair=repair)


def allotted(losses: Sequence[NDArray[np.float64]], keep: float, multiple: int, sizes: Sequence[int] = ()) -> list[int]:
    """How many groups of each network stay, so that no more than the share `keep` of all does and the sum of what is
    lost is small: the cheapest next `multiple` of groups goes first. Of each, `multiple` stay, or all of them.

    `losses` are those when none, one, two ... groups have gone, for each network; `sizes` what a group of each counts,
    one where none are given.
    """
    counts = []
    for lost_so_far in losses:
        count = len(lost_so_far)
        counts.append(np.array([count, *range(count - (count % multiple or multiple), 0, -multiple)]))
    paid = [lost_so_far[len(lost_so_far) - some] for lost_so_far, some in zip(losses, counts, strict=True)]
    numbers = [some * size for some, size in zip(counts, sizes or [1] * len(losses), strict=True)]
    chosen = cheapest(numbers, paid, keep * sum(int(some[0]) for some in numbers))
    return [int(some[at]) for some, at in zip(counts, chosen, strict=True)]


def cheapest(sizes: Sequence[NDArray[np.int_]], losses: Sequence[NDArray[np.float64]], goal: float) -> list[int]:
    """Which of its sizes, from large to small, each of several gets, so that their sum is no more than the goal where
    that can be: the step to the next smaller one that loses least for what it saves comes first."""
    chosen = [0] * len(sizes)

    def price(number: int) -> float:
        at, own, lost_so_far = chosen[number], sizes[number], losses[number]
        if at + 1 == len(own):
            return np.inf
        return float(lost_so_far[at + 1] - lost_so_far[at]) / float(own[at] - own[at + 1])

    left = sum(float(own[0]) for own in sizes)
    prices = [(price(number), number) for number in range(len(sizes))]
    heapify(prices)
    while left > goal and prices[0][0] < np.inf:
        number = prices[0][1]
        left -= float(sizes[number][chosen[number]] - sizes[number][chosen[number] + 1])
        chosen[number] += 1
        heapreplace(prices, (price(number), number))
    return chosen


def weighed(graph: Graph, losses: Sequence[float], alone: Callable[[int], bytes], data: Calibration) -> list[float]:
    """How much of the loss of each part of a graph comes out in the answer: `alone` makes the model in which one part
    has its loss and the others have none."""
    if len(losses) == 1:
        return [1.0]
    few = data.first(ITEMS)
    expected = list(few.outputs(graph.before))
    return [lost(expected, few, alone(number)) / max(loss, 1e-30) for number, loss in enumerate(losses)]


def _learned(
    graph: Graph, found: Sequence[Inner], find: Find, data: Calibration, *, repair: bool
) -> tuple[list[Order], list[float]]:
    """The order of each network, and how much of its loss comes out in the answer when half of it goes."""
    takers = [inner.taker for inner in found]
    orders = [
        order(flat(graph, inner.taker), seen, inner.size, repair=repair)
        for inner, seen in zip(found, _seen(graph, takers, data), strict=True)
    ]
    halves = [max(1, len(one.groups) // 2) for one in orders]

    def alone(number: int) -> bytes:
        changed = Graph(graph.before, graph.kind)
        _thin(changed, find(changed)[number], orders[number].kept(halves[number]), data, repair=repair)
        return serialise(changed.model)

    losses = [float(one.lost[len(one.groups) - half]) for one, half in zip(orders, halves, strict=True)]
    return orders, weighed(graph, losses, alone, data)


def _numbers(graph: Graph, inner: Inner) -> int:
    """How many weights go with one group."""
    layers = (inner.taker, *inner.makers, *inner.along, *inner.also)
    return sum(graph.matrix(layer).size for layer in layers) // inner.groups


def _thin(graph: Graph, inner: Inner, kept: NDArray[np.intp], data: Calibration, *, repair: bool) -> None:
    takers = (inner.taker, *inner.also)
    seen = list(_seen(graph, takers, data)) if repair else []
    fitted: list[Fitted] = []
    for number, layer in enumerate(takers):
        weights = flat(graph, layer)
        left = columns(kept, weights.shape[1] // inner.groups)
        bare = weights[:, left], np.zeros(len(weights), np.float32)
        fitted.append(refitted(weights, seen[number], left) if repair else bare)
    taken_out(graph, inner, kept, fitted)


def _seen(graph: Graph, takers: Sequence[Layer], data: Calibration) -> Iterator[Moments]:
    """What comes into each of the layers, as far as there is something to learn from it.

    The places of an image are alike, and all of them together say little more than one: as so many rows they would
    have weights follow the few images that there are. A kernel that reaches over the edge of an image gets no constant
    to make up for what goes, since there is none beyond the edge.
    """
    for layer, seen in moments(graph, takers, data):
        rows = seen.rows if layer.linear else min(seen.rows, len(data))
        yield Moments(rows, np.zeros_like(seen.mean) if _padded(layer) else seen.mean, seen.second)


def _padded(layer: Layer) -> bool:
    attributes = {attribute.name: attribute for attribute in layer.node.attribute}
    automatic = attributes["auto_pad"].s if "auto_pad" in attributes else b"NOTSET"
    return automatic not in (b"NOTSET", b"VALID") or ("pads" in attributes and any(attributes["pads"].ints))
