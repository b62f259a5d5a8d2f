"""What is rounded while it learns, and the graph of integers that comes of it: that of a step which quantises."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from toolkit.compress.block_layers import InBlocks, linear_layers
from toolkit.compress.blocks import Raster, cut, raster
from toolkit.compress.calibration import Calibration
from toolkit.compress.grid import LEVELS, Integers, grid, integers, rounded
from toolkit.compress.integer_layers import IntegerLayers
from toolkit.compress.layers import Graph, Layer
from toolkit.compress.masks import masking
from toolkit.compress.ranges import Affine, affine, ranges
from toolkit.compress.rounded_graph import RoundedGraph
from toolkit.compress.serialise import serialise
from toolkit.compress.step import StepReport
from toolkit.compress.steps.static_int8 import StaticInt8
from toolkit.compress.steps.weight_bits import WeightBits
from toolkit.train.lesson import Lesson, Level, Levels

__all__ = ["Plan", "plan_of"]

Numbers = NDArray[np.float32]
Learned = Mapping[str, NDArray[Any]]


class Plan(Protocol):
    """`student` is the graph with the scales to begin with among its constants, and the `lesson` says what is rounded
    of it."""

    student: bytes
    lesson: Lesson

    def finished(self, model: bytes, learned: Learned) -> tuple[bytes, StepReport]:
        """The quantised graph of the file that the plan is of, and the report."""
        ...


def plan_of(to: WeightBits | StaticInt8, graph: Graph, data: Calibration) -> Plan:
    """For a step that rounds. The graph is not to be used any more. Raises CompressionError "step_failed"."""
    if isinstance(to, WeightBits):
        return _Blocks(to, graph)
    return RoundedGraph(to, graph, data) if to.whole(graph) else _Int8(to, graph, data)


class _Blocks:
    """Weights as MatMulNBits has them."""

    def __init__(self, to: WeightBits, graph: Graph) -> None:
        self._to = to
        self._rasters: dict[str, Raster] = {}
        weights: dict[str, Levels] = {}
        for layer in linear_layers(graph, to.exclude):
            weight = layer.node.input[1]
            found = raster(cut(graph.matrix(layer)[0, :, :, 0], to.block), bits=to.bits, scales=to.scales)
            zero: str | int = 2 ** (to.bits - 1)
            if found.zero is not None:
                zero = graph.add(f"{weight}.zero", found.zero)
            self._rasters[layer.name] = found
            weights[weight] = Levels(
                scale=graph.add(f"{weight}.scale", found.scale),
                zero=zero,
                low=0,
                high=2**to.bits - 1,
                size=to.block,
                by_output=graph.by_output(layer),
            )
        self.lesson = Lesson(weights=weights)
        self.student = serialise(graph.model)

    def finished(self, model: bytes, learned: Learned) -> tuple[bytes, StepReport]:
        graph, to = _with(model, learned), self._to
        blocks = InBlocks(graph, bits=to.bits, size=to.block, compute=to.compute)
        for layer in linear_layers(graph, to.exclude):
            scale = learned[self.lesson.weights[layer.node.input[1]].scale]
            on = self._rasters[layer.name]._replace(scale=scale)
            blocks.put(layer, on.blocks(cut(graph.matrix(layer)[0, :, :, 0], to.block)))
        return graph.finished()


class _Int8:
    """Weights and what comes into the products of linear layers as int8, tables too."""

    def __init__(self, to: StaticInt8, graph: Graph, data: Calibration) -> None:
        self._to = to
        self._paired, self._levels = to.scales == "pairs", 64 if to.scales == "seven-bits" else LEVELS
        self._exclude = frozenset(to.exclude) | (masking(graph.model) if to.keep_masks else frozenset())
        weights: dict[str, Levels] = {}
        inputs: dict[str, Level] = {}
        graph.known(to.exclude)
        layers = self._layers(graph)
        if not layers:
            raise graph.failed("the graph has no linear layer whose weights are constant floats")
        names = tuple(dict.fromkeys(layer.input for layer in layers))
        found = ranges(lambda: graph.watch(names, data), to.range, to.percentile)
        for name in names:
            one = affine(found[name], 8)
            scale = graph.add(f"{name}.scale", np.array([one.scale]))
            inputs[name] = Level(scale=scale, zero=one.zero, high=255)
        for layer in layers:
            weight = layer.node.input[1]
            on = integers(graph.matrix(layer), scales=to.scales, per_channel=to.per_channel)
            weights[weight] = Levels(
                scale=graph.add(f"{weight}.scale", on.scale.reshape(-1, 1)),
                low=-self._levels,
                high=self._levels,
                by_output=graph.by_output(layer),
                paired=self._paired,
            )
        for name in graph.tables() if to.tables else ():
            rows = graph.rows(name)[None, :, :, None]
            on_grid = grid(rows, per_channel=to.per_channel, seven_bits=False)
            graph.assign(name, (on_grid.nearest(rows) * on_grid.scale)[0, :, :, 0])
        self.lesson = Lesson(weights=weights, inputs=inputs)
        self.student = serialise(graph.model)

    def finished(self, model: bytes, learned: Learned) -> tuple[bytes, StepReport]:
        graph, to = _with(model, learned), self._to
        layers = self._layers(graph)
        known = {layer.name: self._known(graph, layer, learned) for layer in layers}
        scales = {name: Affine(np.float32(learned[one.scale][0]), one.zero) for name, one in self.lesson.inputs.items()}
        whole = IntegerLayers(graph, per_channel=to.per_channel, scales=to.scales)
        whole.linear(layers, scales, 8, known)
        if to.tables:
            whole.tables(self._exclude)
        return graph.finished()

    def _layers(self, graph: Graph) -> Sequence[Layer]:
        """Those that become integers."""
        whole = IntegerLayers(graph, per_channel=self._to.per_channel, scales=self._to.scales)
        linear = [layer for layer in graph.layers if layer.linear and layer.name not in self._exclude]
        graph.left += [f"{layer.name}: its bias is no constant vector" for layer in linear if not whole.takes(layer)]
        return [layer for layer in linear if whole.takes(layer)]

    def _known(self, graph: Graph, layer: Layer, learned: Learned) -> Integers:
        scale = learned[self.lesson.weights[layer.node.input[1]].scale]
        numbers = rounded(graph.matrix(layer)[0, :, :, 0], scale, self._paired, self._levels)
        return Integers(
            numbers[None, :, :, None], scale[None, :, :, None] if len(scale) > 1 else scale.reshape(1, 1, 1, 1)
        )


def _with(model: bytes, learned: Learned) -> Graph:
    """The graph of a file with the weights that were learned."""
    graph = Graph(model, "qat")
    for name, value in learned.items():
        if graph.constant(name) is not None:
            graph.assign(name, value)
    return graph
