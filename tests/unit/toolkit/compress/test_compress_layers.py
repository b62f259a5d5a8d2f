"""Layers of a graph: one form of weights for all operators, and constants that others use stay what they were."""

from __future__ import annotations

import numpy as np
import pytest

from policies.gate import Grant
from tests.unit.toolkit.compress.steps.graphs import given_by, model_of, numbers
from toolkit.compress.calibration import Calibration
from toolkit.compress.channels import origin
from toolkit.compress.errors import CompressionError
from toolkit.compress.layers import Graph
from toolkit.compress.quiet import quiet

with quiet():
    import onnx
    from onnx import helper


@pytest.mark.parametrize(
    ("node", "weights", "x", "matrix"),
    [
        (helper.make_node("MatMul", ["x", "w"], ["y"]), (3, 4), (2, 5, 3), (1, 4, 3, 1)),
        (helper.make_node("Gemm", ["x", "w"], ["y"]), (3, 4), (2, 3), (1, 4, 3, 1)),
        (helper.make_node("Gemm", ["x", "w"], ["y"], transB=1), (4, 3), (2, 3), (1, 4, 3, 1)),
        (helper.make_node("Conv", ["x", "w"], ["y"]), (4, 3, 2, 2), (2, 3, 5, 5), (1, 4, 3, 4)),
        (helper.make_node("Conv", ["x", "w"], ["y"], group=2), (4, 3, 2), (2, 6, 5), (2, 2, 3, 2)),
    ],
)
def test_weights_go_in_as_they_come_out_and_a_shift_is_one_of_each_output(
    node: onnx.NodeProto, weights: tuple[int, ...], x: tuple[int, ...], matrix: tuple[int, ...]
) -> None:
    model, item = model_of([node], {"w": numbers(*weights)}, x), numbers(*x)
    graph = Graph(model, "test")
    [layer] = graph.layers
    assert graph.matrix(layer).shape == matrix
    graph.write(layer, 2 * graph.matrix(layer))
    vector = numbers(4)
    graph.shift(layer, vector)
    graph.shift(layer, vector)
    changed = np.moveaxis(given_by(graph.finished()[0], x=item), layer.axis, -1)
    expected = np.moveaxis(given_by(model, x=item), layer.axis, -1)
    np.testing.assert_allclose(changed, 2 * expected + 2 * vector, rtol=1e-4, atol=1e-5)


def test_a_constant_that_another_node_uses_is_copied_and_shared_weights_are_no_layer() -> None:
    nodes = [
        helper.make_node("Gemm", ["x", "v", "b"], ["h"]),
        helper.make_node("MatMul", ["h", "w"], ["i"]),
        helper.make_node("MatMul", ["i", "w"], ["j"]),
        helper.make_node("Add", ["j", "b"], ["y"]),
    ]
    graph = Graph(model_of(nodes, {"v": numbers(3, 3), "w": numbers(3, 3), "b": numbers(3)}, ("n", 3)), "test")
    [layer] = graph.layers
    graph.shift(layer, np.ones(3, np.float32))
    bias, kept = graph.constant(layer.node.input[2]), graph.constant("b")
    assert bias is not None
    assert kept is not None
    np.testing.assert_allclose(bias, kept + 1, rtol=1e-6)


def test_a_bias_that_is_computed_is_kept() -> None:
    nodes = [helper.make_node("Neg", ["b"], ["c"]), helper.make_node("Gemm", ["x", "w", "c"], ["y"])]
    model, x = model_of(nodes, {"w": numbers(3, 3), "b": numbers(3)}, ("n", 3)), numbers(2, 3)
    graph = Graph(model, "test")
    graph.shift(graph.layers[0], np.ones(3, np.float32))
    np.testing.assert_allclose(given_by(graph.finished()[0], x=x), given_by(model, x=x) + 1, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("between", ["Gelu", "Sigmoid", "Softmax"])
def test_what_does_not_scale_with_its_input_is_no_way_to_an_origin(between: str) -> None:
    nodes = [helper.make_node("MatMul", ["x", "v"], ["h"]), helper.make_node(between, ["h"], ["i"])]
    nodes.append(helper.make_node("MatMul", ["i", "w"], ["y"]))
    graph = Graph(model_of(nodes, {"v": numbers(3, 3), "w": numbers(3, 3)}, ("n", 3)), "test")
    assert origin(graph, "h", -1, 3) is not None
    assert origin(graph, "i", -1, 3) is None


def test_no_model_no_layer_no_data_and_no_numbers_are_refused() -> None:
    step = helper.make_node("MatMul", ["x", "w"], ["y"])
    good = Graph(model_of([step], {"w": numbers(3, 3)}, ("n", 3)), "test")
    bad = Graph(model_of([step], {"w": np.full((3, 3), np.nan, np.float32)}, ("n", 3)), "test")
    nothing = Calibration(Grant(), "policy", [])
    for act in (
        lambda: Graph(b"no model", "test"),
        lambda: Graph(model_of([helper.make_node("Relu", ["x"], ["y"])], {}, ("n", 3)), "test"),
        lambda: bad.matrix(bad.layers[0]),
        lambda: list(good.watch(["x"], nothing)),
    ):
        with pytest.raises(CompressionError, match="test: ") as caught:
            act()
        assert caught.value.code == "step_failed"


@pytest.mark.parametrize(("outputs", "expected"), [(4, True), (400, False)])
def test_what_convolves_is_what_holds_most_of_the_weights(outputs: int, expected: bool) -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["h"], name="c"),
        helper.make_node("Flatten", ["h"], ["f"], name="f"),
        helper.make_node("MatMul", ["f", "m"], ["y"], name="m"),
    ]
    model = model_of(nodes, {"w": numbers(8, 3, 3, 3), "m": numbers(8, outputs)}, ("batch", 3, 3, 3))
    assert Graph(model, "test").convolves is expected
