"""AWQ: the same model, whose weights in blocks answer nearer where some channels are much larger than others."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.property.test_compress_gptq import drawn
from tests.unit.toolkit.compress.steps.conftest import Taken
from tests.unit.toolkit.compress.steps.graphs import encoder, given_by, model_of, numbers, tokens
from tests.unit.toolkit.compress.steps.test_step_bits import back
from toolkit.compress.blocks import blocked
from toolkit.compress.errors import CompressionError
from toolkit.compress.hessian import error
from toolkit.compress.quiet import quiet
from toolkit.compress.steps.awq import Awq, searched
from toolkit.compress.steps.weight_bits import WeightBits

with quiet():
    import onnx
    import onnxruntime
    from onnx import helper


@settings(max_examples=5, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(40, 100), st.sampled_from([2, 4]))
def test_blocks_of_rescaled_weights_never_err_more(seed: int, channels: int, bits: Any) -> None:
    weights, seen = drawn(seed, channels, 8)
    factor = searched([weights], seen, Awq(bits=bits))
    assert (factor > 0).all()

    def lost(by: NDArray[np.float32]) -> float:
        found = back(blocked(weights * by, bits=bits, size=32, scales="mse"), bits, channels)
        return float(error(weights, found / by, seen).sum())

    assert lost(factor) <= lost(np.ones_like(factor)) * (1 + 1e-6)


def outlying() -> tuple[bytes, NDArray[np.float32]]:
    """A linear layer behind a normalisation that makes one channel in eight much larger than the others."""
    scale = np.where(np.arange(64) % 8 == 3, 30, 1).astype(np.float32)
    nodes = [
        helper.make_node("LayerNormalization", ["x", "scale", "shift"], ["n"]),
        helper.make_node("MatMul", ["n", "w"], ["y"]),
    ]
    constants = {"scale": scale, "shift": numbers(64), "w": numbers(64, 32)}
    return model_of(nodes, constants, ("n", 64)), numbers(100, 64)


def test_large_activations_go_into_the_normalisation_and_blocks_answer_nearer(taken: Taken) -> None:
    model, x = outlying()
    scaled, _ = taken(Awq(), model, [{"x": x}])
    assert [node.op_type for node in onnx.load_from_string(scaled).graph.node] == ["LayerNormalization", "MatMul"]
    expected = given_by(model, x=x)
    np.testing.assert_allclose(given_by(scaled, x=x), expected, rtol=1e-3, atol=1e-3)

    def lost(given: bytes) -> float:
        blocks, _ = taken(WeightBits(bits=4, compute="float32"), given)
        session = onnxruntime.InferenceSession(blocks, providers=["CPUExecutionProvider"])
        return float(np.square(session.run(None, {"x": x})[0] - expected).mean())

    assert lost(scaled) < 0.7 * lost(model)


@pytest.mark.parametrize("insert", [True, False])
def test_what_cannot_be_divided_is_named_or_divided_by_a_node(taken: Taken, insert: bool) -> None:
    model, [feeds] = encoder(), tokens(1)
    scaled, report = taken(Awq(insert=insert, bits=2), model, tokens(40))
    np.testing.assert_allclose(given_by(scaled, **feeds), given_by(model, **feeds), rtol=1e-3, atol=1e-4)
    assert bool(report.left) != insert
    # the residual way uses what the other layers take
    assert all("its input cannot be divided without a Mul" in line for line in report.left)


def test_a_graph_without_a_linear_layer_is_refused(taken: Taken) -> None:
    model = model_of([helper.make_node("Conv", ["x", "w"], ["y"])], {"w": numbers(4, 3, 2)}, (1, 3, 5))
    with pytest.raises(CompressionError, match="awq: the graph has no linear layer"):
        taken(Awq(), model, [{"x": numbers(1, 3, 5)}])
