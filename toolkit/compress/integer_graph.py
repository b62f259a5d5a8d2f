"""A whole graph in integers, results too: ONNX Runtime's quantiser, with ranges that were found under the grant."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper

from toolkit.compress.calibration import Calibration
from toolkit.compress.grid import LEVELS, Integers, Numbers, integers
from toolkit.compress.layers import Graph, Layer
from toolkit.compress.quiet import quiet
from toolkit.compress.ranges import ranges

if TYPE_CHECKING:
    from toolkit.compress.steps.static_int8 import StaticInt8

__all__ = ["InIntegers", "in_integers", "integer_graph", "wide_enough"]

INT32 = np.iinfo(np.int32).max


def integer_graph(step: StaticInt8, graph: Graph, exclude: Collection[str], data: Calibration) -> onnx.ModelProto:
    """The model with QuantizeLinear and DequantizeLinear around its operators, for the runtime to fuse.

    Raises CompressionError "step_failed".
    """
    with quiet():
        from onnxruntime.quantization import CalibrationMethod, QuantType
        from onnxruntime.quantization.calibrate import TensorData, TensorsData
        from onnxruntime.quantization.qdq_quantizer import QDQQuantizer
        from onnxruntime.quantization.registry import QDQRegistry, QLinearOpsRegistry
    exclude = {*exclude, *_loaded(graph.model)}
    kinds = sorted({*QDQRegistry, *QLinearOpsRegistry} - (set() if step.tables else {"Gather"}))
    names = _activations(graph, kinds, exclude)
    found = ranges(lambda: graph.watch(names, data), step.range, step.percentile)
    seen = {name: TensorData(lowest=np.float32(one.low), highest=np.float32(one.high)) for name, one in found.items()}
    with quiet():
        try:
            quantiser = QDQQuantizer(
                onnx.shape_inference.infer_shapes(graph.model),
                step.per_channel,
                False,
                QuantType.QInt8,
                QuantType.QUInt8 if step.activation_bits == 8 else QuantType.QUInt16,
                TensorsData(CalibrationMethod.MinMax, seen),
                [],
                sorted(exclude),
                kinds,
                {"DefaultTensorType": TensorProto.FLOAT},
            )
            quantiser.quantize_model()
        except Exception as error:  # noqa: BLE001 - the quantiser raises whatever its parts raise
            raise graph.failed(type(error).__name__) from None
    model: onnx.ModelProto = quantiser.model.model
    if step.scales != "minmax":
        _rescale(model, graph, step)
    return model


class InIntegers(NamedTuple):
    """A layer whose weights became integers, with the constants of the quantised graph that hold them: the whole
    numbers and their scale; of its bias, if it has one, the whole numbers and what they are counted in."""

    layer: Layer
    numbers: onnx.TensorProto
    scale: onnx.TensorProto
    bias: onnx.TensorProto | None
    unit: onnx.TensorProto | None

    def put(self, graph: Graph, on: Integers, counted: NDArray[np.float64] | None) -> None:
        """Give it other integers, for a bias that is `counted` in the old unit."""
        before = numpy_helper.to_array(self.scale)
        if self.bias is not None and self.unit is not None and counted is not None:
            # a bias is counted in the scale of the weights times that of the input
            factor = on.scale.reshape(before.shape).astype(np.float64) / before
            _put(self.bias, np.rint(counted / factor).astype(np.int32))
            _put(self.unit, (numpy_helper.to_array(self.unit) * factor).astype(np.float32))
        _put(self.numbers, graph.laid(self.layer, on.numbers).astype(np.int8))
        _put(self.scale, on.scale.reshape(before.shape))


def in_integers(model: onnx.ModelProto, graph: Graph) -> Iterator[InIntegers]:
    """The layers of a graph whose weights are integers in the quantised model of it; not those that were excluded, or
    for which the runtime has none."""
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    makers = {name: node for node in model.graph.node for name in node.output}
    layers = {layer.name: layer for layer in graph.layers}
    for node in model.graph.node:
        weights = makers.get(node.input[1]) if node.name in layers and len(node.input) > 1 else None
        if weights is None or weights.op_type != "DequantizeLinear" or weights.input[0] not in constants:
            continue
        bias = makers.get(node.input[2]) if len(node.input) > 2 else None
        counted = bias is not None and bias.op_type == "DequantizeLinear"
        of_bias = [constants[name] for name in bias.input[:2]] if bias is not None and counted else [None, None]
        yield InIntegers(layers[node.name], *(constants[name] for name in weights.input[:2]), *of_bias)


def _rescale(model: onnx.ModelProto, graph: Graph, step: StaticInt8) -> None:
    """Give the integers of the weights other scales than the quantiser's, and the biases with them."""
    for one in in_integers(model, graph):
        matrix = graph.matrix(one.layer)
        on = integers(matrix, scales=step.scales, per_channel=step.per_channel)
        counted = None if one.bias is None else numpy_helper.to_array(one.bias).astype(np.float64)
        if counted is not None:
            on = wide_enough(on, matrix, numpy_helper.to_array(one.scale), counted)
        one.put(graph, on, counted)


def wide_enough(on: Integers, matrix: Numbers, before: Numbers, counted: NDArray[np.float64]) -> Integers:
    """Integers whose scale leaves the bias room in 32 bits. Where weights are next to nothing, as in channels that say
    the same whatever comes in, it would not; the quantiser's, `before`, does."""
    quantisers = before.reshape(on.scale.shape)
    asked = np.abs(counted / (on.scale.astype(np.float64) / quantisers).reshape(-1))
    fits = (asked if on.scale.size > 1 else asked.max(keepdims=True)).reshape(on.scale.shape) <= INT32
    scale = np.where(fits, on.scale, quantisers)
    return Integers(np.where(fits, on.numbers, np.clip(np.rint(matrix / scale), -LEVELS, LEVELS)), scale)


def _put(tensor: onnx.TensorProto, value: NDArray[Any]) -> None:
    tensor.CopyFrom(numpy_helper.from_array(value, tensor.name))


def _loaded(model: onnx.ModelProto) -> Iterator[str]:
    """The nodes that the runtime computes while it loads, from constants alone, and those that take them as weights:
    a weight that is looked up is no activation, whose range could be found."""
    known = {tensor.name for tensor in model.graph.initializer}
    looked_up: set[str] = set()
    for node in model.graph.node:
        given = [name for name in node.input if name]
        if given and known.issuperset(given):
            known.update(node.output)
            looked_up.update(node.output)
            yield node.name
        elif len(node.input) > 1 and node.input[1] in looked_up:
            yield node.name


def _activations(graph: Graph, kinds: Collection[str], exclude: Collection[str]) -> tuple[str, ...]:
    """The float tensors that go into or come out of what is to be quantised, in their order."""
    inferred = onnx.shape_inference.infer_shapes(graph.model).graph
    floats = {
        value.name
        for value in (*inferred.input, *inferred.value_info, *inferred.output)
        if value.type.tensor_type.elem_type == TensorProto.FLOAT
    }
    touched = [
        name
        for node in graph.model.graph.node
        if node.op_type in kinds and node.name not in exclude
        for name in (*node.input, *node.output)
        if name in floats and graph.constant(name) is None
    ]
    return tuple(dict.fromkeys(touched))
