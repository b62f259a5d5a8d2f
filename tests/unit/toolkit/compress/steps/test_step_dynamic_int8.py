"""Dynamic int8: smaller, the same bytes every time, and refused where it did nothing."""

from __future__ import annotations

import numpy as np
import pytest

from tests.unit.toolkit.compress.steps.conftest import Taken
from toolkit.compress.errors import CompressionError
from toolkit.compress.quiet import quiet
from toolkit.compress.steps.dynamic_int8 import DynamicInt8

with quiet():
    import onnx
    from onnx import TensorProto, helper, numpy_helper


def test_weights_and_tables_become_integers(exported: bytes, taken: Taken) -> None:
    given = bytes(exported)
    pressed, report = taken(DynamicInt8(), exported, ())
    assert exported == given
    assert (report.bytes_before, report.bytes_after) == (len(exported), len(pressed))
    graph = onnx.load_from_string(pressed).graph
    assert [node.op_type for node in graph.node].count("MatMulInteger") == 6
    assert report.left == ()
    tables = sum(np.prod(t.dims) for t in onnx.load_from_string(exported).graph.initializer if len(t.dims) == 2)
    assert report.weights["int8"] + report.weights["uint8"] >= tables


def test_the_bytes_are_the_same_every_time_and_carry_no_notes(exported: bytes, taken: Taken) -> None:
    first, _ = taken(DynamicInt8(), exported, ())
    second, _ = taken(DynamicInt8(), exported, ())
    assert first == second
    model = onnx.load_from_string(first)
    assert (model.producer_name, model.producer_version, len(model.metadata_props)) == ("sealpress", "", 0)


@pytest.mark.parametrize(("per_channel", "scales"), [(True, 64), (False, 1)])
def test_scales_are_per_channel_or_per_tensor(exported: bytes, taken: Taken, per_channel: bool, scales: int) -> None:
    graph = onnx.load_from_string(taken(DynamicInt8(per_channel=per_channel), exported, ())[0]).graph
    assert max(int(np.prod(t.dims)) for t in graph.initializer if t.name.endswith("_scale")) == scales


@pytest.mark.parametrize(("seven_bits", "largest"), [(False, 127), (True, 64)])
def test_seven_bits_halve_the_range_of_the_weights(taken: Taken, seven_bits: bool, largest: int) -> None:
    weights = np.random.default_rng(0).standard_normal((64, 32)).astype(np.float32)
    graph = onnx.load_from_string(taken(DynamicInt8(seven_bits=seven_bits), model_of(weights, "MatMul"), ())[0]).graph
    [matrix] = [
        numpy_helper.to_array(t) for t in graph.initializer if t.data_type == TensorProto.INT8 and t.dims[:1] == [64]
    ]
    assert np.abs(matrix.astype(int)).max() == largest


def test_what_is_excluded_stays_a_float_and_is_named(exported: bytes, taken: Taken) -> None:
    name = next(node.name for node in onnx.load_from_string(exported).graph.node if node.op_type == "MatMul")
    pressed, report = taken(DynamicInt8(exclude=(name,)), exported, ())
    kinds = {node.name: node.op_type for node in onnx.load_from_string(pressed).graph.node}
    assert kinds[name] == "MatMul"
    assert list(kinds.values()).count("MatMulInteger") == 5
    assert len(report.left) == 1


def test_a_name_that_is_not_there_is_refused(exported: bytes, taken: Taken) -> None:
    with pytest.raises(CompressionError, match="no node is called nobody"):
        taken(DynamicInt8(exclude=("nobody",)), exported, ())


def test_a_graph_of_the_runtimes_own_operators_is_taken(taken: Taken) -> None:
    # behind an operator that is not of ONNX the type of a tensor is not known
    model = onnx.load_from_string(model_of(np.ones((8, 8), np.float32), "MatMul"))
    model.graph.node[0].input[0] = "g"
    model.graph.node.insert(0, helper.make_node("Gelu", ["x"], ["g"], domain="com.microsoft"))
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    assert taken(DynamicInt8(), model.SerializeToString(), ())[1].weights["int8"] >= 64


def model_of(weights: np.ndarray[tuple[int, ...], np.dtype[np.float32]], operation: str) -> bytes:
    graph = helper.make_graph(
        [helper.make_node(operation, ["x", "w"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", weights.shape[0]])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", weights.shape[1]])],
        [numpy_helper.from_array(weights, "w")],
    )
    data: bytes = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)]).SerializeToString()
    return data


def test_a_graph_that_was_left_as_it_was_is_refused(taken: Taken) -> None:
    with pytest.raises(CompressionError, match="no weight became an integer"):
        taken(DynamicInt8(), model_of(np.ones((8, 8), np.float32), "Add"), ())


@pytest.mark.parametrize("data", [b"", b"no model", b"\x00" * 64])
def test_what_is_no_model_is_refused(data: bytes, taken: Taken) -> None:
    with pytest.raises(CompressionError) as caught:
        taken(DynamicInt8(), data, ())
    assert caught.value.code == "step_failed"
