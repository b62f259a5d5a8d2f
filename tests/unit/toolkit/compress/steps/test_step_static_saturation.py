"""Answers are those of exact integers, on whatever processor the kernels run: the worst activations there are."""

from __future__ import annotations

import numpy as np
import pytest

from tests.unit.toolkit.compress.steps.conftest import Taken
from tests.unit.toolkit.compress.steps.graphs import given_by, model_of
from toolkit.compress.quiet import quiet
from toolkit.compress.steps.static_int8 import StaticInt8

with quiet():
    import onnx
    import onnxruntime
    from onnx import helper


def ran(model: bytes, x: np.ndarray) -> np.ndarray:
    return np.asarray(onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"]).run(None, {"x": x})[0])


@pytest.mark.parametrize("kernel", [1, 3])
def test_convolutions_do_not_saturate(taken: Taken, kernel: int) -> None:
    random = np.random.default_rng(1)
    weights = np.abs(random.normal(1, 0.1, (8, 16, kernel, kernel))).astype(np.float32)
    nodes = [helper.make_node("Conv", ["x", "w"], ["h"], name="conv"), helper.make_node("Relu", ["h"], ["y"])]
    given = model_of(nodes, {"w": weights}, ("batch", 16, 8, 8))
    x = np.full((1, 16, 8, 8), 4.0, np.float32)
    x[:, :, :2] = 0
    pressed, _ = taken(StaticInt8(scales="pairs"), given, [{"x": x}])
    expected = given_by(given, x=x)
    assert np.abs(ran(pressed, x) - expected).max() < 0.02 * expected.max()


def test_linear_layers_do_not_saturate(taken: Taken) -> None:
    random = np.random.default_rng(1)
    weights = np.abs(random.normal(1, 0.1, (64, 8))).astype(np.float32)
    given = model_of([helper.make_node("MatMul", ["x", "w"], ["y"], name="m")], {"w": weights}, ("batch", 64))
    x = np.full((2, 64), 4.0, np.float32)
    x[0, :5] = 0
    pressed, _ = taken(StaticInt8(scales="pairs"), given, [{"x": x}])
    assert "MatMulIntegerToFloat" in {node.op_type for node in onnx.load_from_string(pressed).graph.node}
    expected = given_by(given, x=x)
    assert np.abs(ran(pressed, x) - expected).max() < 0.02 * expected.max()
