"""GPTQ: a file of the form and size that weight-bits gives, which answers nearer."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pytest

from tests.unit.toolkit.compress.steps.conftest import Taken
from tests.unit.toolkit.compress.steps.graphs import encoder, given_by, model_of, numbers, tokens
from toolkit.compress.errors import CompressionError
from toolkit.compress.quiet import quiet
from toolkit.compress.steps.gptq import Gptq
from toolkit.compress.steps.weight_bits import WeightBits

with quiet():
    import onnx
    import onnxruntime
    import torch
    from onnx import helper


def answered(model: bytes, feeds: list[dict[str, Any]]) -> Any:
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    return np.concatenate([session.run(None, one)[0].reshape(-1) for one in feeds])


@pytest.mark.parametrize("order", ["columns", "activation"])
def test_an_encoder_answers_nearer_than_with_the_nearest_numbers(
    taken: Taken, order: Literal["columns", "activation"]
) -> None:
    model, learned, others = encoder(), tokens(60), tokens(20, seed=1)
    exact = answered(model, others)
    made, report = taken(Gptq(order=order, compute="float32"), model, learned)
    plain, same = taken(WeightBits(bits=4, compute="float32"), model)
    assert report.weights == same.weights
    assert abs(len(made) - len(plain)) < 100
    nodes = [[(node.op_type, node.name) for node in onnx.load_from_string(one).graph.node] for one in (made, plain)]
    assert nodes[0] == nodes[1]
    ours, nearest = (float(np.square(answered(one, others) - exact).mean()) for one in (made, plain))
    assert ours < 0.8 * nearest


def test_a_bias_stays_and_what_is_excluded_stays_float(taken: Taken) -> None:
    nodes = [
        helper.make_node("Gemm", ["x", "a", "b"], ["h"], name="first"),
        helper.make_node("MatMul", ["h", "c"], ["y"], name="second"),
    ]
    model = model_of(nodes, {"a": numbers(40, 16), "b": 100 + numbers(16), "c": numbers(16, 3)}, ("n", 40))
    x = numbers(200, 40)
    pressed, report = taken(Gptq(bits=8, exclude=("second",), compute="float32"), model, [{"x": x}])
    assert [node.op_type for node in onnx.load_from_string(pressed).graph.node] == ["MatMulNBits", "MatMul"]
    assert report.left == ("c: stays float32, 192 bytes",)
    given = onnxruntime.InferenceSession(pressed, providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]
    np.testing.assert_allclose(given, given_by(model, x=x), rtol=0.01, atol=2)


def test_the_bytes_do_not_depend_on_the_number_of_threads(taken: Taken) -> None:
    model = model_of([helper.make_node("MatMul", ["x", "w"], ["y"])], {"w": numbers(192, 96)}, ("n", 192))
    x, threads, made = numbers(500, 192), torch.get_num_threads(), set()
    try:
        for number in (1, 2):
            torch.set_num_threads(number)
            made.add(taken(Gptq(), model, [{"x": x}])[0])
    finally:
        torch.set_num_threads(threads)
    assert len(made) == 1


def test_without_a_linear_layer_or_data_it_is_refused(taken: Taken) -> None:
    model = model_of([helper.make_node("Conv", ["x", "w"], ["y"])], {"w": numbers(4, 3, 2)}, (1, 3, 5))
    with pytest.raises(CompressionError, match="gptq: the graph has no linear layer"):
        taken(Gptq(), model, [{"x": numbers(1, 3, 5)}])
    model = model_of([helper.make_node("MatMul", ["x", "w"], ["y"])], {"w": numbers(4, 3)}, ("n", 4))
    with pytest.raises(CompressionError, match="gptq: there is no calibration data"):
        taken(Gptq(), model)
