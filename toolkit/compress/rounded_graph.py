"""A whole graph in integers that learns while it is rounded: what its quantised form rounds is read off that form."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper

from toolkit.compress.calibration import Calibration
from toolkit.compress.grid import LEVELS, Integers, in_pairs, in_rows, of_rows, rounded
from toolkit.compress.integer_graph import InIntegers, in_integers, integer_graph, wide_enough
from toolkit.compress.layers import Graph
from toolkit.compress.masks import masking
from toolkit.compress.serialise import serialise
from toolkit.compress.step import StepReport
from toolkit.compress.steps.static_int8 import StaticInt8
from toolkit.compress.weights import finished, floats_left
from toolkit.train.lesson import Lesson, Level, Levels

__all__ = ["RoundedGraph"]

# how the quantiser of ONNX Runtime calls what it makes
OF_WEIGHT, OF_OUTPUT = "_quantized", "_QuantizeLinear_Input"


class RoundedGraph:
    """See toolkit.compress.rounding.Plan. Weights learn with their scales. Those of activations are held: where the
    levels end, the quantised graph cuts off what an operator that it leaves out would have."""

    def __init__(self, to: StaticInt8, graph: Graph, data: Calibration) -> None:
        graph.known(to.exclude)
        exclude = frozenset(to.exclude) | (masking(graph.model) if to.keep_masks else frozenset())
        self._to = to
        self._made = integer_graph(to, graph, exclude, data)
        self._levels = 64 if to.scales == "seven-bits" else LEVELS
        weights = {one.layer.node.input[1]: self._weight(graph, one) for one in in_integers(self._made, graph)}
        held, made = _constants(self._made, graph, weights), _activations(self._made, graph)
        self.lesson = Lesson(weights=weights, made=made, held=held)
        self.student = serialise(graph.model)

    def finished(self, model: bytes, learned: Mapping[str, NDArray[Any]]) -> tuple[bytes, StepReport]:
        """See Plan."""
        made = onnx.ModelProto()
        made.CopyFrom(self._made)
        graph = Graph(model, "qat")
        for name, value in learned.items():
            if graph.constant(name) is not None:
                graph.assign(name, value)
        for one in in_integers(made, graph):
            matrix, scale = graph.matrix(one.layer), learned[self.lesson.weights[one.layer.node.input[1]].scale]
            numbers = rounded(in_rows(matrix), scale, self._pairs(matrix), self._levels)
            by_output = (*matrix.shape[:2], 1, 1) if len(scale) > 1 else (1, 1, 1, 1)
            on, counted = Integers(of_rows(numbers, matrix), scale.reshape(by_output)), None
            if one.unit is not None:
                bias = graph.constant(one.layer.node.input[2])
                assert bias is not None  # noqa: S101 - the quantiser takes constants alone for a bias
                counted = bias / numpy_helper.to_array(one.unit).astype(np.float64)
                on = wide_enough(on, matrix, numpy_helper.to_array(one.scale), counted)
            one.put(graph, on, counted)
        for tensor in made.graph.initializer:
            if tensor.name in learned:  # a float that learned
                tensor.CopyFrom(numpy_helper.from_array(learned[tensor.name], tensor.name))
        return finished("qat", model, made, floats_left(made))

    def _weight(self, graph: Graph, one: InIntegers) -> Levels:
        layer, scale = one.layer, numpy_helper.to_array(one.scale)
        return Levels(
            scale=graph.add(f"{layer.node.input[1]}.scale", scale.reshape(-1, 1)),
            low=-self._levels,
            high=self._levels,
            by_output=not layer.linear or graph.by_output(layer),
            paired=self._pairs(graph.matrix(layer)),
        )

    def _pairs(self, matrix: NDArray[np.float32]) -> bool:
        return self._to.scales == "pairs" and in_pairs(matrix)


def _activations(made: onnx.ModelProto, graph: Graph) -> dict[str, Level]:
    """The tensors of a graph that its quantised model rounds."""
    constants = {tensor.name: tensor for tensor in made.graph.initializer}
    scales: dict[str, str] = {}  # some tensors share theirs
    found = {}
    for node in made.graph.node:
        if node.op_type == "QuantizeLinear":
            scale, zero = (numpy_helper.to_array(constants[name]) for name in node.input[1:3])
            if node.input[1] not in scales:
                scales[node.input[1]] = graph.add(f"{node.input[1]}.held", scale.reshape(1))
            level = Level(scale=scales[node.input[1]], zero=int(zero), high=np.iinfo(zero.dtype).max)
            found[node.input[0].removesuffix(OF_OUTPUT)] = level
    return found


def _constants(made: onnx.ModelProto, graph: Graph, weights: Mapping[str, Levels]) -> tuple[str, ...]:
    """The constants that are rounded once and do not learn, as tables are; they are so in the graph from here on."""
    constants = {tensor.name: tensor for tensor in made.graph.initializer}
    held = []
    for node in made.graph.node:
        tensor = constants.get(node.input[0]) if node.op_type == "DequantizeLinear" else None
        if tensor is None or tensor.data_type == TensorProto.INT32:  # a bias keeps nearly all that it was
            continue
        name = tensor.name.removesuffix(OF_WEIGHT)
        if name not in weights and graph.constant(name) is not None:
            graph.assign(name, _values(node, constants))
            held.append(name)
    return tuple(held)


def _values(node: onnx.NodeProto, constants: Mapping[str, onnx.TensorProto]) -> NDArray[np.float32]:
    """What a DequantizeLinear makes of constants."""
    numbers, scale, zero = (numpy_helper.to_array(constants[name]) for name in node.input)
    if scale.ndim:
        axis = next((attribute.i for attribute in node.attribute if attribute.name == "axis"), 1)
        along = [1] * numbers.ndim
        along[axis] = -1
        scale, zero = scale.reshape(along), zero.reshape(along)
    values: NDArray[np.float32] = (numbers.astype(np.float32) - zero.astype(np.float32)) * scale
    return values
