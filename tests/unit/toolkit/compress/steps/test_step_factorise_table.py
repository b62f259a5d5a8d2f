"""Tables in two factors: what is of low rank loses nothing, what is often looked up loses least, shapes are told."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray

from tests.unit.toolkit.compress.steps.conftest import Taken
from tests.unit.toolkit.compress.steps.graphs import model_of, numbers
from toolkit.compress.errors import CompressionError
from toolkit.compress.quiet import quiet
from toolkit.compress.steps.factorise_table import FactoriseTable

with quiet():
    import onnx
    from onnx import helper

IDS = [{"x": np.arange(start, start + 50)} for start in (0, 20, -50)]


def table(rows: NDArray[np.float32]) -> bytes:
    model = onnx.load_from_string(model_of([helper.make_node("Gather", ["table", "x"], ["y"])], {"table": rows}, ["n"]))
    model.graph.input[0].type.CopyFrom(helper.make_tensor_type_proto(onnx.TensorProto.INT64, ["n"]))
    data: bytes = model.SerializeToString()
    return data


def rows_of(model: bytes, ids: NDArray[np.int64]) -> NDArray[np.float32]:
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    found: NDArray[np.float32] = session.run(None, {"x": ids})[0]
    return found


def test_what_is_of_low_rank_loses_nothing(taken: Taken) -> None:
    rows = numbers(400, 8) @ numbers(8, 32)
    made, report = taken(FactoriseTable(keep=0.3, multiple=4), table(rows), IDS)
    np.testing.assert_allclose(rows_of(made, np.arange(-400, 400)), np.concatenate([rows, rows]), rtol=1e-3, atol=1e-3)
    after = onnx.load_from_string(made)
    kept = {one.name: tuple(one.dims) for one in after.graph.initializer}
    assert {node.name: kept[node.input[node.op_type == "MatMul"]][::-1] for node in after.graph.node} == report.shapes
    assert sorted(report.shapes.values()) == [(8, 400), (32, 8)]
    assert len(made) < 0.35 * len(table(rows))


def test_what_is_often_looked_up_loses_least(taken: Taken) -> None:
    rows = numbers(400, 32)
    made, _ = taken(FactoriseTable(keep=0.5, multiple=4), table(rows), [{"x": np.repeat(np.arange(10), 1000)}])
    lost = np.square(rows_of(made, np.arange(400)) - rows).sum(axis=1)
    assert lost[:10].max() < lost[10:].mean() / 20


def test_what_cannot_be_done_is_refused(taken: Taken) -> None:
    with pytest.raises(CompressionError, match="no calibration data"):
        taken(FactoriseTable(), table(numbers(400, 32)))
    with pytest.raises(CompressionError, match="that are not there"):
        taken(FactoriseTable(), table(numbers(400, 32)), [{"x": np.array([400])}])
    with pytest.raises(CompressionError, match="a rank of 0"):
        taken(FactoriseTable(keep=0.3), table(numbers(400, 32)), IDS)
