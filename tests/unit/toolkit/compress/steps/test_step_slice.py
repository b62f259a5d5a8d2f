"""Streams turned and cut: turning changes nothing, what reaches nowhere is lost without loss, and shapes are told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray

from tests.unit.toolkit.compress.steps.conftest import Taken
from tests.unit.toolkit.compress.steps.graphs import encoder, numbers, tokens
from toolkit.compress.errors import CompressionError
from toolkit.compress.quiet import quiet
from toolkit.compress.rotation import axes, meanless
from toolkit.compress.steps.slice import Slice
from toolkit.runtime.session import Feeds

with quiet():
    import onnx
    from onnx import helper, numpy_helper

# (d, d) onto 15 of the directions without a mean
FEW = np.linalg.qr(meanless(32).T[:, :15])[0]
LEARNED = tokens(40)


def given_by(model: bytes, batches: Sequence[Feeds]) -> NDArray[np.float32]:
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    names = {one.name for one in session.get_inputs()}
    found = [session.run(None, {name: one[name] for name in names})[0].reshape(-1, 32) for one in batches]
    return np.concatenate(found)


def before(*, flat: bool = False) -> bytes:
    """An encoder that normalises before each network; `flat` in 15 directions of its 32 channels."""
    model = onnx.load_from_string(encoder(before=True))
    for one in model.graph.initializer if flat else ():
        writes = one.name == "table" or one.name[:2] in ("0a", "1a", "0f", "1f")
        value = numpy_helper.to_array(one)
        if writes and value.shape[-1] == 32 and one.name.count(".") < 2 and ".n." not in one.name:
            one.CopyFrom(numpy_helper.from_array((value @ FEW @ FEW.T).astype(np.float32), one.name))
    data: bytes = model.SerializeToString()
    return data


def ids(batches: int, seed: int) -> list[Feeds]:
    """For the tiny BERT."""
    return [{**one, "token_type_ids": np.zeros_like(one["input_ids"])} for one in tokens(batches, 60, seed)]


def told(model: bytes, shapes: Mapping[str, tuple[int, int]]) -> dict[str, tuple[int, int]]:
    """The shapes in the file of the nodes that a report names."""
    graph = onnx.load_from_string(model).graph
    kept = {one.name: tuple(one.dims) for one in graph.initializer}
    return {node.name: kept[node.input[node.op_type != "Gather"]][::-1] for node in graph.node if node.name in shapes}


def test_turning_alone_changes_nothing_where_norms_come_before(taken: Taken) -> None:
    model = before()
    made, report = taken(Slice(keep=1), model, LEARNED)
    assert report.bytes_after < 1.1 * report.bytes_before
    np.testing.assert_allclose(given_by(made, tokens(9, seed=1)), given_by(model, tokens(9, seed=1)), atol=1e-4)


def test_turning_alone_changes_nothing_where_norms_come_after(taken: Taken, exported: bytes) -> None:
    made, _ = taken(Slice(keep=1), exported, ids(40, 0))
    assert made != exported
    np.testing.assert_allclose(given_by(made, ids(9, 1)), given_by(exported, ids(9, 1)), atol=1e-4)


def test_a_stream_in_few_directions_loses_nothing(taken: Taken) -> None:
    model = before(flat=True)
    made, report = taken(Slice(keep=0.5), model, LEARNED)
    np.testing.assert_allclose(given_by(made, tokens(9, seed=1)), given_by(model, tokens(9, seed=1)), atol=1e-3)
    assert len(made) < 0.65 * len(model)
    assert told(made, report.shapes) == report.shapes
    assert report.shapes["look-up"] == (16, 60)
    assert report.shapes["0f.inner.matmul"] == (64, 16)
    assert report.shapes["1f.matmul"] == (16, 64)


def test_less_is_lost_the_more_stays(taken: Taken, exported: bytes) -> None:
    expected = given_by(exported, ids(9, 1))
    losses = []
    for keep in (0.25, 0.5, 0.75, 1.0):
        made, report = taken(Slice(keep=keep, multiple=8), exported, ids(40, 0))
        losses.append(float(np.square(given_by(made, ids(9, 1)) - expected).mean()))
        assert told(made, report.shapes) == report.shapes
        assert (
            report.shapes.keys() >= {"node_embedding"}
            or keep == 1
            or any(shape[0] == 32 * keep for shape in report.shapes.values())
        )
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < 1e-8


def test_directions_have_no_mean_and_are_at_right_angles() -> None:
    free = meanless(24)
    np.testing.assert_allclose(free @ free.T, np.eye(23), atol=1e-12)
    np.testing.assert_allclose(free.sum(axis=1), 0, atol=1e-12)
    rows = numbers(500, 24).astype(np.float64)
    turned = axes(rows.T @ rows, 16)
    np.testing.assert_allclose(turned.sum(axis=1), 0, atol=1e-12)
    np.testing.assert_allclose(turned.sum(axis=0), 0, atol=1e-12)
    values = np.linalg.svd(turned, compute_uv=False)
    np.testing.assert_allclose(values, [1.0] * 15 + [0.0], atol=1e-12)


def test_streams_that_something_else_uses_are_refused(taken: Taken) -> None:
    with pytest.raises(CompressionError, match="reads h0, which is not normalised yet"):
        taken(Slice(), encoder(), LEARNED)  # queries, keys and values are made of bare rows of the table
    bare = onnx.load_from_string(before())
    for node in bare.graph.node:
        if node.op_type == "LayerNormalization":
            node.op_type, node.input[:] = "Relu", node.input[:1]
    with pytest.raises(CompressionError, match="no sums that are normalised"):
        taken(Slice(), bare.SerializeToString(), LEARNED)
    odd = onnx.load_from_string(before())
    odd.graph.output.append(helper.make_tensor_value_info("0f.sum", onnx.TensorProto.FLOAT, None))
    with pytest.raises(CompressionError, match=r"0f\.sum"):
        taken(Slice(), odd.SerializeToString(), LEARNED)
    with pytest.raises(CompressionError, match="0 of 32 channels would stay"):
        taken(Slice(keep=0.3, multiple=32), before(), LEARNED)
    with pytest.raises(CompressionError, match="no calibration data"):
        taken(Slice(), before())
