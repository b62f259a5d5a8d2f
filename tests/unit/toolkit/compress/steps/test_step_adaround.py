"""AdaRound: on the grid that int8 finds again, with less error than the nearest numbers give."""

from __future__ import annotations

import numpy as np
import pytest

from tests.unit.toolkit.compress.steps.conftest import Taken
from tests.unit.toolkit.compress.steps.graphs import given_by, model_of, numbers
from toolkit.compress.errors import CompressionError
from toolkit.compress.quiet import quiet
from toolkit.compress.steps.adaround import AdaRound
from toolkit.compress.steps.dynamic_int8 import DynamicInt8

with quiet():
    import onnx
    import torch
    from onnx import helper, numpy_helper


def correlated() -> tuple[bytes, np.ndarray[tuple[int, ...], np.dtype[np.float32]]]:
    """A linear layer whose 32 inputs come from 6 numbers: then errors of weights can cancel each other."""
    model = model_of([helper.make_node("MatMul", ["x", "w"], ["y"])], {"w": numbers(32, 16)}, ("n", 32))
    return model, numbers(300, 6) @ numbers(6, 32)


@pytest.mark.parametrize("step", [AdaRound(), AdaRound(per_channel=False), AdaRound(seven_bits=True)])
def test_weights_stand_on_the_grid_and_the_outputs_change_less(taken: Taken, step: AdaRound) -> None:
    model, x = correlated()
    rounded, report = taken(step, model, [{"x": x[:100]}, {"x": x[100:]}])
    assert report.weights == {"float32": 4 * 32 * 16}
    int8 = DynamicInt8(per_channel=step.per_channel, seven_bits=step.seven_bits)
    pressed = onnx.load_from_string(taken(int8, rounded)[0]).graph.initializer
    weights, scale = (
        next(numpy_helper.to_array(tensor) for tensor in pressed if tensor.name.endswith(end))
        for end in ("_quantized", "_scale")
    )
    [own] = onnx.load_from_string(rounded).graph.initializer
    np.testing.assert_allclose(numpy_helper.to_array(own), weights * scale, rtol=1e-5, atol=1e-7)

    def error(given: bytes) -> float:
        tensors = {tensor.name: tensor for tensor in onnx.load_from_string(given).graph.initializer}
        stored = next(numpy_helper.to_array(tensor) for name, tensor in tensors.items() if name.endswith("_quantized"))
        scale = next(numpy_helper.to_array(tensor) for name, tensor in tensors.items() if name.endswith("_scale"))
        return float(np.square(x @ (stored * scale) - given_by(model, x=x)).mean())

    assert error(taken(int8, rounded)[0]) < 0.5 * error(taken(int8, model)[0])


def test_the_bytes_do_not_depend_on_the_number_of_threads_which_is_put_back(taken: Taken) -> None:
    model = model_of([helper.make_node("MatMul", ["x", "w"], ["y"])], {"w": numbers(192, 96)}, ("n", 192))
    x, threads, made = numbers(500, 192), torch.get_num_threads(), set()
    try:
        for number in (1, 2):
            torch.set_num_threads(number)
            made.add(taken(AdaRound(rounds=50), model, [{"x": x}])[0])
            assert torch.get_num_threads() == number
    finally:
        torch.set_num_threads(threads)
    assert len(made) == 1


def test_a_convolution_is_left_and_a_graph_of_nothing_else_is_refused(taken: Taken) -> None:
    model = model_of([helper.make_node("Conv", ["x", "w"], ["y"])], {"w": numbers(4, 3, 2)}, (1, 3, 5))
    with pytest.raises(CompressionError, match="adaround: the graph has no linear layer"):
        taken(AdaRound(), model, [{"x": numbers(1, 3, 5)}])
