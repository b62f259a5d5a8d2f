"""Cross-layer equalisation: what the model says stays the same, and the ranges of both layers meet."""

from __future__ import annotations

import numpy as np
import pytest

from tests.unit.toolkit.compress.steps.conftest import Taken
from tests.unit.toolkit.compress.steps.graphs import given_by, model_of, numbers
from toolkit.compress.errors import CompressionError
from toolkit.compress.layers import Graph
from toolkit.compress.quiet import quiet
from toolkit.compress.steps.equalise import Equalise

with quiet():
    import onnx
    from onnx import helper

Numbers = np.ndarray[tuple[int, ...], np.dtype[np.float32]]


def linear(between: str) -> tuple[bytes, Numbers]:
    """Two linear layers whose ranges are far apart in one channel."""
    nodes = [
        helper.make_node("Gemm", ["x", "v", "b"], ["h"]),
        helper.make_node(between, ["h"], ["i"]),
        helper.make_node("MatMul", ["i", "w"], ["y"]),
    ]
    first = numbers(6, 5)
    first[:, 2] *= 1000
    return model_of(nodes, {"v": first, "b": numbers(5), "w": numbers(5, 4)}, ("n", 6)), numbers(8, 6)


def separable() -> tuple[bytes, Numbers]:
    """A convolution, one for each channel, and one of a single position, as in a mobile network."""
    nodes = [
        helper.make_node("Conv", ["x", "a", "b"], ["h"]),
        helper.make_node("Relu", ["h"], ["i"]),
        helper.make_node("Conv", ["i", "v", "c"], ["j"], group=4, pads=[1, 1, 1, 1]),
        helper.make_node("LeakyRelu", ["j"], ["k"], alpha=0.1),
        helper.make_node("MaxPool", ["k"], ["l"], kernel_shape=[2, 2]),
        helper.make_node("Conv", ["l", "w"], ["y"]),
    ]
    first = numbers(4, 3, 1, 1) * np.array([1, 100, 1, 0.01], np.float32).reshape(4, 1, 1, 1)
    constants = {"a": first, "b": numbers(4), "v": numbers(4, 1, 3, 3), "c": numbers(4), "w": numbers(2, 4, 1, 1)}
    return model_of(nodes, constants, ("n", 3, 6, 6)), numbers(2, 3, 6, 6)


@pytest.mark.parametrize(("model", "x"), [linear("Relu"), separable()])
def test_chains_of_layers_say_the_same_with_ranges_that_meet(taken: Taken, model: bytes, x: Numbers) -> None:
    equal, report = taken(Equalise(), model)
    assert equal == taken(Equalise(), model)[0]
    np.testing.assert_allclose(given_by(equal, x=x), given_by(model, x=x), rtol=1e-3, atol=1e-3)
    assert report.left == ("h: no layer before it whose channels only it takes",)

    def spread(given: bytes) -> float:
        """The largest range of an output channel of the first layer over the smallest."""
        graph = Graph(given, "test")
        ranges = np.abs(graph.matrix(graph.layers[0])).max(axis=(2, 3))
        return float(ranges.max() / ranges.min())

    assert spread(equal) < 0.2 * spread(model)


def test_the_values_of_an_attention_are_made_even_with_what_takes_them(taken: Taken, exported: bytes) -> None:
    equal, report = taken(Equalise(), exported)
    tokens = np.array([[2, 5, 9, 30, 3], [2, 7, 3, 0, 0]])
    every = {"input_ids": tokens, "attention_mask": (tokens > 0).astype(np.int64), "token_type_ids": 0 * tokens}
    feeds = {value.name: every[value.name] for value in onnx.load_from_string(exported).graph.input}
    assert equal != exported
    assert len(report.left) == 5
    np.testing.assert_allclose(given_by(equal, **feeds), given_by(exported, **feeds), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("between", ["Gelu", "Sigmoid", "HardSigmoid"])
def test_where_the_function_would_change_the_step_is_refused(taken: Taken, between: str) -> None:
    with pytest.raises(CompressionError, match="equalise: the graph has no two layers that follow each other"):
        taken(Equalise(), linear(between)[0])
