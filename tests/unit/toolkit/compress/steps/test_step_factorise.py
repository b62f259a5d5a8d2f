"""Layers in two factors: what is of low rank loses nothing, what shares an input shares a factor, shapes are true."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest

from tests.unit.toolkit.compress.steps.conftest import Taken
from tests.unit.toolkit.compress.steps.graphs import encoder, given_by, model_of, numbers, tokens
from toolkit.compress.errors import CompressionError
from toolkit.compress.quiet import quiet
from toolkit.compress.steps.factorise import Factorise
from toolkit.compress.steps.weight_bits import WeightBits

with quiet():
    import onnx
    from onnx import helper

X = [{"x": numbers(400, 48)} for _ in range(4)]
MATMUL = [helper.make_node("MatMul", ["x", "w"], ["m"], name="layer"), helper.make_node("Add", ["m", "b"], ["y"])]
GEMM = [helper.make_node("Gemm", ["x", "w", "b"], ["y"], name="layer", transB=1)]


def layer(nodes: list[onnx.NodeProto], rank: int) -> bytes:
    weights = numbers(48, rank) @ numbers(rank, 40)
    matrix = np.ascontiguousarray(weights.T) if nodes is GEMM else weights
    return model_of(nodes, {"w": matrix, "b": numbers(40)}, ("n", 48))


def shapes(model: bytes) -> dict[str, tuple[int, ...]]:
    return {tensor.name: tuple(tensor.dims) for tensor in onnx.load_from_string(model).graph.initializer}


@pytest.mark.parametrize("nodes", [MATMUL, GEMM])
@pytest.mark.parametrize("aware", [True, False])
def test_what_is_of_low_rank_loses_nothing(taken: Taken, nodes: list[onnx.NodeProto], aware: bool) -> None:
    model = layer(nodes, 8)
    made, report = taken(Factorise(keep=0.4, multiple=8, aware=aware), model, X)
    x = numbers(30, 48)
    np.testing.assert_allclose(given_by(made, x=x), given_by(model, x=x), rtol=1e-3, atol=1e-3)
    assert report.shapes == {"layer": (40, 8), "x.factorise.MatMul": (8, 48)}
    assert {tuple(sorted(one)) for one in shapes(made).values() if len(one) == 2} == {(8, 48), (8, 40)}
    assert {node.op_type for node in onnx.load_from_string(made).graph.node} <= {"MatMul", "Gemm", "Add"}
    given = onnxruntime.InferenceSession(made, providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]
    np.testing.assert_allclose(given, given_by(made, x=x), rtol=1e-3, atol=1e-3)


def test_with_the_data_known_less_is_lost_on_it(taken: Taken) -> None:
    model = layer(MATMUL, 40)
    power = np.geomspace(10, 0.1, 48).astype(np.float32)
    data = [{"x": 2 + batch["x"] * power} for batch in X]
    x = 2 + numbers(200, 48) * power
    right = given_by(model, x=x)
    aware, plain = (taken(Factorise(keep=0.4, multiple=4, aware=aware), model, data)[0] for aware in (True, False))
    lost = [float(np.square(given_by(made, x=x) - right).mean()) for made in (aware, plain)]
    assert lost[0] < lost[1] / 2
    assert abs((given_by(aware, x=x) - right).mean(axis=0)).max() < np.sqrt(lost[0])


def test_layers_of_one_input_share_a_factor_and_the_share_is_kept_to(taken: Taken) -> None:
    model = encoder()
    made, report = taken(Factorise(keep=0.6, multiple=4), model, tokens(30))

    def weights(file: bytes) -> int:
        return sum(int(np.prod(shape)) for name, shape in shapes(file).items() if len(shape) == 2 and name != "table")

    assert weights(made) <= 0.6 * weights(model)
    after = onnx.load_from_string(made)
    for name, (outputs, inputs) in report.shapes.items():
        [node] = [node for node in after.graph.node if node.name == name]
        assert shapes(made)[node.input[1]] == (inputs, outputs)
    attending = {"0a.q.matmul", "0a.k.matmul", "0a.v.matmul"}
    assert len({node.input[0] for node in after.graph.node if node.name in attending}) == 1


def test_both_factors_are_quantised_by_what_follows(taken: Taken) -> None:
    model = layer(MATMUL, 8)
    factors, _ = taken(Factorise(keep=0.4, multiple=8), model, X)
    made, _ = taken(WeightBits(bits=8, block=16), factors, X)
    kinds = [node.op_type for node in onnx.load_from_string(made).graph.node]
    assert kinds.count("MatMulNBits") == 2
    x = numbers(30, 48)
    right = given_by(model, x=x)
    [given] = onnxruntime.InferenceSession(made, providers=["CPUExecutionProvider"]).run(None, {"x": x})
    assert np.square(given - right).mean() < 1e-3 * np.square(right).mean()


def test_all_that_is_kept_stays_the_same(taken: Taken) -> None:
    model = layer(MATMUL, 40)
    made, report = taken(Factorise(keep=1.0, multiple=8), model, X)
    x = numbers(30, 48)
    np.testing.assert_array_equal(given_by(made, x=x), given_by(model, x=x))
    assert report.shapes == {}


def test_layers_that_two_factors_would_not_make_smaller_are_refused(taken: Taken) -> None:
    with pytest.raises(CompressionError, match="two factors"):
        taken(Factorise(multiple=32), layer(MATMUL, 8), X)
