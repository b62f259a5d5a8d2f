"""SmoothQuant: what the model says stays the same, the channels become alike, and int8 is nearer afterwards."""

from __future__ import annotations

import numpy as np
import pytest

from tests.unit.toolkit.compress.steps.conftest import Taken
from tests.unit.toolkit.compress.steps.graphs import given_by, model_of, numbers
from toolkit.compress.errors import CompressionError
from toolkit.compress.quiet import quiet
from toolkit.compress.steps.dynamic_int8 import DynamicInt8
from toolkit.compress.steps.smooth_quant import SmoothQuant

with quiet():
    import onnx
    from onnx import helper

TOKENS = {
    "input_ids": np.array([[2, 5, 9, 30, 3]]),
    "attention_mask": np.ones((1, 5), np.int64),
    "token_type_ids": np.zeros((1, 5), np.int64),
}


def outlying() -> tuple[bytes, np.ndarray[tuple[int, ...], np.dtype[np.float32]]]:
    """A linear layer behind a normalisation which makes one channel a hundred times larger than the others."""
    scale = np.ones(32, np.float32)
    scale[7] = 100
    nodes = [
        helper.make_node("LayerNormalization", ["x", "scale", "shift"], ["n"]),
        helper.make_node("MatMul", ["n", "w"], ["y"]),
    ]
    weights = numbers(32, 16)
    weights[7] /= 100
    constants = {"scale": scale, "shift": numbers(32), "w": weights}
    return model_of(nodes, constants, ("n", 32)), numbers(64, 32)


@pytest.mark.parametrize("insert", [True, False])
def test_a_real_encoder_says_the_same(taken: Taken, exported: bytes, insert: bool) -> None:
    names = [value.name for value in onnx.load_from_string(exported).graph.input]
    feeds = {name: TOKENS[name] for name in names}
    smoothed, report = taken(SmoothQuant(insert=insert), exported, [feeds])
    assert smoothed == taken(SmoothQuant(insert=insert), exported, [feeds])[0]
    assert smoothed != exported
    # the output of the attention takes its scale from the values; the other five layers share their inputs
    assert len(report.left) == (0 if insert else 5)
    assert (report.bytes_before, report.bytes_after) == (len(exported), len(smoothed))
    np.testing.assert_allclose(given_by(smoothed, **feeds), given_by(exported, **feeds), rtol=1e-4, atol=1e-5)


def test_an_outlier_goes_into_the_normalisation_and_int8_is_nearer(taken: Taken) -> None:
    model, x = outlying()
    smoothed, _ = taken(SmoothQuant(), model, [{"x": x}])
    assert [node.op_type for node in onnx.load_from_string(smoothed).graph.node] == ["LayerNormalization", "MatMul"]
    expected = given_by(model, x=x)
    np.testing.assert_allclose(given_by(smoothed, x=x), expected, rtol=1e-3, atol=1e-4)

    def error(given: bytes) -> float:
        return float(np.square(given_by(taken(DynamicInt8(), given)[0], x=x) - expected).mean())

    assert error(smoothed) < 0.1 * error(model)


def test_numbers_that_are_not_finite_are_refused(taken: Taken) -> None:
    model, x = outlying()
    x[0, 0] = np.inf
    with pytest.raises(CompressionError, match="smooth-quant: n is not finite"):
        taken(SmoothQuant(), model, [{"x": x}])
