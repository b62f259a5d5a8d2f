"""The one form in which steps find a model, whichever tool wrote it: weights that are initializers, names that are
given, a shape for each dimension, an operator set in which integers can have a scale for each channel."""

from __future__ import annotations

import onnx
from onnx import checker, helper, version_converter

from toolkit.compress.errors import CompressionError
from toolkit.compress.serialise import serialise
from toolkit.compress.sources.onnx_checks import light, parts

__all__ = ["regular"]

OPSET = 13  # the first with a scale for each channel; higher ones stay as they are
IR = 8
_VALUES = {
    "value_float": onnx.TensorProto.FLOAT,
    "value_floats": onnx.TensorProto.FLOAT,
    "value_int": onnx.TensorProto.INT64,
    "value_ints": onnx.TensorProto.INT64,
}


def regular(model: bytes) -> bytes:
    """The same function of the same inputs. Raises CompressionError "export_failed"."""
    proto = onnx.ModelProto.FromString(model)
    try:
        if any(entry.domain in ("", "ai.onnx") and entry.version < OPSET for entry in proto.opset_import):
            proto = version_converter.convert_version(proto, OPSET)
        proto.ir_version = max(proto.ir_version, IR)
        for graph in parts(proto, onnx.GraphProto):
            _lift_constants(graph)
        _drop_defaults(proto.graph)
        _name_nodes(proto)
        _name_dimensions(proto.graph)
        checker.check_model(light(proto))
    except (checker.ValidationError, version_converter.ConvertError, RuntimeError, ValueError) as error:
        raise CompressionError(
            "export_failed", f"the graph cannot be brought up to date: {str(error)[:300]!r}"
        ) from None
    return serialise(proto)


def _lift_constants(graph: onnx.GraphProto) -> None:
    """Make initializers of constants: quantisers look for weights nowhere else."""
    given = {value.name for value in graph.output}
    kept = []
    for node in graph.node:
        tensor = _constant(node) if node.op_type == "Constant" and node.output[0] not in given else None
        if tensor is None:
            kept.append(node)
        else:
            tensor.name = node.output[0]
            graph.initializer.append(tensor)
    kept = [onnx.NodeProto.FromString(node.SerializeToString()) for node in kept]
    graph.ClearField("node")
    graph.node.extend(kept)


def _constant(node: onnx.NodeProto) -> onnx.TensorProto | None:
    [attribute] = node.attribute
    if attribute.name == "value":
        tensor: onnx.TensorProto = attribute.t
        return tensor
    if attribute.name not in _VALUES:
        return None
    value = helper.get_attribute_value(attribute)
    values = list(value) if attribute.name.endswith("s") else [value]
    dims = [len(values)] if attribute.name.endswith("s") else []
    return helper.make_tensor("", _VALUES[attribute.name], dims, values)


def _drop_defaults(graph: onnx.GraphProto) -> None:
    """Inputs that have a value already are weights by another name: nothing may be fed in their place."""
    held = {tensor.name for tensor in graph.initializer}
    asked = [value for value in graph.input if value.name not in held]
    graph.ClearField("input")
    graph.input.extend(asked)


def _name_nodes(model: onnx.ModelProto) -> None:
    """Give each node a name of its own: recipes and diagnoses speak of nodes by name."""
    nodes = list(parts(model, onnx.NodeProto))
    taken = {node.name for node in nodes}
    seen = {""}
    for number, node in enumerate(nodes):
        if node.name in seen:
            name = f"{node.name or node.op_type}_{number}"
            node.name = name if name not in taken else f"{name}_{len(taken)}_again"
        seen.add(node.name)


def _name_dimensions(graph: onnx.GraphProto) -> None:
    """Dimensions without a name are not the same because of that."""
    for value in (*graph.input, *graph.output):
        for axis, dim in enumerate(value.type.tensor_type.shape.dim):
            if dim.dim_value < 0 or (not dim.HasField("dim_value") and dim.dim_param in ("", "?")):
                dim.dim_param = f"{value.name}_{axis}"
