"""Zeros in a model: as many as the report says, kept by the steps after, and not larger when packed."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest

from tests.unit.toolkit.compress.steps.conftest import Taken
from tests.unit.toolkit.compress.steps.graphs import encoder, model_of, numbers, tokens
from toolkit.compress.errors import CompressionError, RecipeError
from toolkit.compress.measure import transport_bytes
from toolkit.compress.quiet import quiet
from toolkit.compress.recipe import Recipe
from toolkit.compress.step import Step
from toolkit.compress.steps.gptq import Gptq
from toolkit.compress.steps.sparsify import Sparsify
from toolkit.compress.steps.static_int8 import StaticInt8
from toolkit.compress.steps.weight_bits import WeightBits

with quiet():
    import onnx
    import onnxruntime
    from onnx import helper, numpy_helper

    from toolkit.compress.sparsity import zeros


def counted(model: bytes) -> dict[str, int]:
    """The zeros of the float layers, counted another way than the step does."""
    graph = onnx.load_from_string(model).graph
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    return {
        node.name: sum(not number for number in constants[node.input[1]].reshape(-1).tolist())
        for node in graph.node
        if node.op_type == "MatMul" and node.input[1] in constants
    }


@pytest.mark.parametrize("method", ["magnitude", "wanda", "sparsegpt"])
def test_the_zeros_of_the_report_are_in_the_file_which_packs_smaller(taken: Taken, method: Any) -> None:
    model = encoder()
    made, report = taken(Sparsify(method=method, share=0.6), model, tokens(40))
    assert report.zeros == counted(made)
    assert len(report.zeros) == 12
    for name, count in report.zeros.items():
        weights = 32 * 32 if "a" in name.partition(".")[0] else 32 * 64
        assert count == pytest.approx(0.6 * weights, rel=0.03), name
    assert len(made) == pytest.approx(len(model), abs=2000)
    assert transport_bytes(made) < 0.8 * transport_bytes(model)


@pytest.mark.parametrize("after", [WeightBits(bits=4, scales="hqq"), Gptq(), StaticInt8(scales="pairs")])
def test_the_steps_of_integers_keep_them(taken: Taken, after: Step) -> None:
    batches = tokens(40)
    made, report = taken(Sparsify(pattern="2:4"), encoder(), batches)
    pressed, _ = taken(after, made, batches)
    left = zeros(pressed, report.zeros)
    assert left.keys() == report.zeros.keys()
    assert all(count >= report.zeros[name] for name, count in left.items())


def test_making_up_for_what_goes_keeps_more_of_the_answer(taken: Taken) -> None:
    model, others = encoder(), tokens(20, seed=1)

    def answered(one: bytes) -> Any:
        session = onnxruntime.InferenceSession(one, providers=["CPUExecutionProvider"])
        return np.concatenate([session.run(None, feeds)[0].reshape(-1) for feeds in others])

    ours, bare = (
        np.square(answered(taken(Sparsify(method=method), model, tokens(60))[0]) - answered(model)).mean()
        for method in ("sparsegpt", "magnitude")
    )
    assert ours < bare


def test_a_share_that_is_not_the_patterns_is_refused_before_a_model_is_read() -> None:
    with pytest.raises(RecipeError, match=r"`share` is 0.5 where the pattern is 2:4"):
        Recipe.of([{"kind": "sparsify", "pattern": "2:4", "share": 0.6}])
    assert msgspec.to_builtins(Sparsify(pattern="2:4"))["share"] == 0.5


def test_a_graph_without_a_linear_layer_is_refused(taken: Taken) -> None:
    model = model_of([helper.make_node("Conv", ["x", "w"], ["y"])], {"w": numbers(4, 3, 2)}, (1, 3, 5))
    with pytest.raises(CompressionError, match="sparsify: the graph has no linear layer"):
        taken(Sparsify(), model, [{"x": numbers(1, 3, 5)}])
