"""A whole graph in integers, results too: ONNX Runtime's quantiser, with ranges that were found under the grant."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

import numpy as np
import onnx
from onnx import TensorProto

from toolkit.compress.calibration import Calibration
from toolkit.compress.layers import Graph
from toolkit.compress.quiet import quiet
from toolkit.compress.ranges import ranges

if TYPE_CHECKING:
    from toolkit.compress.steps.static_int8 import StaticInt8

__all__ = ["integer_graph"]


def integer_graph(step: StaticInt8, graph: Graph, exclude: Collection[str], data: Calibration) -> onnx.ModelProto:
    """The model with QuantizeLinear and DequantizeLinear around its operators, for the runtime to fuse.

    Raises CompressionError "step_failed".
    """
    with quiet():
        from onnxruntime.quantization import CalibrationMethod, QuantType
        from onnxruntime.quantization.calibrate import TensorData, TensorsData
        from onnxruntime.quantization.qdq_quantizer import QDQQuantizer
        from onnxruntime.quantization.registry import QDQRegistry, QLinearOpsRegistry
    kinds = sorted({*QDQRegistry, *QLinearOpsRegistry} - (set() if step.tables else {"Gather"}))
    names = _activations(graph, kinds, exclude)
    found = ranges(lambda: graph.watch(names, data), step.range, step.percentile)
    seen = {name: TensorData(lowest=np.float32(one.low), highest=np.float32(one.high)) for name, one in found.items()}
    with quiet():
        try:
            quantiser = QDQQuantizer(
                onnx.shape_inference.infer_shapes(graph.model),
                step.per_channel,
                step.seven_bits,
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
    return model


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
