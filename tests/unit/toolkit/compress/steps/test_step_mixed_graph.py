"""Mixed precision over a whole graph: the layer that costs most stays a float."""

from __future__ import annotations

import numpy as np
import pytest

from tests.unit.toolkit.compress.steps.conftest import Taken
from tests.unit.toolkit.compress.steps.graphs import model_of
from toolkit.compress.quiet import quiet
from toolkit.compress.steps.mixed import Mixed

with quiet():
    import onnx
    from onnx import helper


def test_the_convolution_that_costs_most_stays_float(taken: Taken) -> None:
    random = np.random.default_rng(0)
    fragile = random.normal(size=(8, 8, 1, 1)).astype(np.float32)
    fragile[:, 0] *= 1000  # one input channel drowns the others in the grid of the weights
    nodes = [
        helper.make_node("Conv", ["x", "a"], ["h1"], name="first"),
        helper.make_node("Relu", ["h1"], ["r1"], name="relu"),
        helper.make_node("Mul", ["r1", "small"], ["s1"], name="small"),
        helper.make_node("Conv", ["s1", "b"], ["h2"], name="fragile"),
        helper.make_node("Conv", ["h2", "c"], ["y"], name="last"),
    ]
    constants = {
        "a": random.normal(size=(8, 3, 3, 3)).astype(np.float32),
        "b": fragile,
        "c": random.normal(size=(8, 8, 1, 1)).astype(np.float32),
        "small": np.array([0.001, 1, 1, 1, 1, 1, 1, 1], np.float32).reshape(1, 8, 1, 1),
    }
    model = model_of(nodes, constants, ("batch", 3, 8, 8))
    batches = [{"x": random.normal(size=(1, 3, 8, 8)).astype(np.float32)} for _ in range(4)]
    pressed, report = taken(Mixed(rough="int8-graph", share=0.25), model, batches)
    assert report.left[0] == "fragile: kept as it is"
    stored = {tensor.name: tensor.data_type for tensor in onnx.load_from_string(pressed).graph.initializer}
    assert stored["b"] == onnx.TensorProto.FLOAT
    assert "a" not in stored
    assert "c" not in stored


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_none_or_all_stay_float(taken: Taken, share: float) -> None:
    random = np.random.default_rng(0)
    model = model_of(
        [helper.make_node("Conv", ["x", "a"], ["y"], name="c")],
        {"a": random.normal(size=(8, 3, 3, 3)).astype(np.float32)},
        ("batch", 3, 8, 8),
    )
    batches = [{"x": random.normal(size=(1, 3, 8, 8)).astype(np.float32)}]
    _, report = taken(Mixed(rough="int8-graph", share=share), model, batches)
    assert ("int8" in report.weights) is (share == 0)
