"""Dynamic int8: smaller, the same bytes every time, and refused where it did nothing."""

from __future__ import annotations

import numpy as np
import pytest

from toolkit.compress.errors import CompressionError
from toolkit.compress.quiet import quiet
from toolkit.compress.steps.dynamic_int8 import DynamicInt8

with quiet():
    import onnx
    from onnx import TensorProto, helper, numpy_helper


def test_weights_and_tables_become_int8(exported: bytes) -> None:
    given = bytes(exported)
    pressed, report = DynamicInt8().apply(exported, ())
    assert exported == given
    assert (report.bytes_before, report.bytes_after) == (len(exported), len(pressed))
    graph = onnx.load_from_string(pressed).graph
    assert [node.op_type for node in graph.node].count("MatMulInteger") == 6
    # nothing that is left in floats has two dimensions: no matrix and no table
    assert [
        t.name for t in graph.initializer if t.data_type == TensorProto.FLOAT and len(t.dims) > 1 and min(t.dims) > 1
    ] == []
    tables = sum(np.prod(t.dims) for t in onnx.load_from_string(exported).graph.initializer if len(t.dims) == 2)
    assert report.int8_bytes >= tables


def test_the_bytes_are_the_same_every_time_and_carry_no_notes(exported: bytes) -> None:
    first, _ = DynamicInt8().apply(exported, ())
    second, _ = DynamicInt8().apply(exported, ())
    assert first == second
    model = onnx.load_from_string(first)
    assert (model.producer_name, model.producer_version, len(model.metadata_props)) == ("sealpress", "", 0)


def test_scales_are_per_channel_or_per_tensor(exported: bytes) -> None:
    def widest(step: DynamicInt8) -> int:
        graph = onnx.load_from_string(step.apply(exported, ())[0]).graph
        return max(int(np.prod(t.dims)) for t in graph.initializer if t.name.endswith("_scale"))

    assert widest(DynamicInt8(per_channel=True)) == 64
    assert widest(DynamicInt8(per_channel=False)) == 1


def model_of(weights: np.ndarray[tuple[int, ...], np.dtype[np.float32]], operation: str) -> bytes:
    graph = helper.make_graph(
        [helper.make_node(operation, ["x", "w"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 8])],
        [numpy_helper.from_array(weights, "w")],
    )
    data: bytes = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)]).SerializeToString()
    return data


def test_a_graph_that_was_left_as_it_was_is_refused() -> None:
    with pytest.raises(CompressionError) as caught:
        DynamicInt8().apply(model_of(np.ones((8, 8), np.float32), "Add"), ())
    assert caught.value.code == "step_failed"


def test_the_double_of_that_graph_which_can_be_pressed_is_taken() -> None:
    _, report = DynamicInt8().apply(model_of(np.ones((8, 8), np.float32), "MatMul"), ())
    assert report.int8_bytes >= 64


@pytest.mark.parametrize("data", [b"", b"no model", b"\x00" * 64])
def test_what_is_no_model_is_refused(data: bytes) -> None:
    with pytest.raises(CompressionError) as caught:
        DynamicInt8().apply(data, ())
    assert caught.value.code == "step_failed"
