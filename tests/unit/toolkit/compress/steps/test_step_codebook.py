"""Words of a book: what is looked up is what was meant, once and while the runtime loads, and the answer stays near."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest

from tests.unit.toolkit.compress.steps.conftest import Taken
from tests.unit.toolkit.compress.steps.graphs import encoder, given_by, model_of, numbers, tokens
from toolkit.compress.errors import CompressionError
from toolkit.compress.quiet import quiet
from toolkit.compress.steps.codebook import Codebook
from toolkit.compress.steps.static_int8 import StaticInt8
from toolkit.compress.steps.table_codebook import TableCodebook
from toolkit.compress.weights import stored

with quiet():
    import onnx
    import onnxruntime
    from onnx import helper, numpy_helper

Word = Literal[2, 3, 4]


def answered(model: bytes, batches: list[dict[str, Any]]) -> Any:
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    return np.concatenate([session.run(None, one)[0].reshape(-1) for one in batches])


@pytest.mark.parametrize("word", [2, 4])
def test_an_encoder_answers_nearly_the_same(taken: Taken, word: Word) -> None:
    model, learned, others = encoder(), tokens(60), tokens(20, seed=1)
    made, report = taken(Codebook(word=word), model, learned)
    assert report.weights["uint8"] == (8 * 32 * 32 + 4 * 64 * 32) // word
    exact, given = answered(model, others), answered(made, others)
    assert np.square(given - exact).mean() < {2: 0.01, 4: 0.15}[word] * np.square(exact).mean()
    [feeds] = tokens(1)
    np.testing.assert_allclose(given_by(made, **feeds).reshape(-1), answered(made, [feeds]), atol=1e-4)


def test_the_runtime_looks_the_weights_up_while_it_loads(taken: Taken, tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Gemm", ["x", "a", "b"], ["h"], name="first", transB=1),
        helper.make_node("MatMul", ["h", "c"], ["y"], name="second"),
    ]
    model = model_of(nodes, {"a": numbers(40, 64), "b": numbers(40), "c": numbers(40, 32)}, ("n", 64))
    x = numbers(300, 64)
    made, report = taken(Codebook(), model, [{"x": x}])
    assert report.weights["uint8"] == 40 * 64 // 2 + 40 * 32 // 2
    assert not report.left
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "loaded.onnx")
    session = onnxruntime.InferenceSession(made, options, providers=["CPUExecutionProvider"])
    np.testing.assert_allclose(session.run(None, {"x": x})[0], given_by(made, x=x), rtol=1e-3, atol=1e-3)
    loaded = onnx.load(tmp_path / "loaded.onnx")
    assert {node.op_type for node in loaded.graph.node} <= {"Gemm", "MatMul", "FusedGemm", "FusedMatMul"}
    assert stored(loaded) == {"float32": 4 * (40 * 64 + 40 + 40 * 32)}


@pytest.mark.parametrize("word", [2, 3, 4])
def test_rows_are_put_together_from_their_words(taken: Taken, word: Word) -> None:
    nodes = [
        helper.make_node("Cast", ["x"], ["ids"], to=onnx.TensorProto.INT64),
        helper.make_node("Gather", ["t", "ids"], ["y"]),
    ]
    # 49 is no multiple of a word
    table = numbers(300, 49) * np.linspace(0.1, 5, 300, dtype=np.float32)[:, None]
    made, report = taken(TableCodebook(word=word), model_of(nodes, {"t": table}, ["n", "m"]))
    tensors = {one.name: numpy_helper.to_array(one) for one in onnx.load_from_string(made).graph.initializer}
    meant = tensors["t.words"][tensors["t.codes"]].reshape(300, -1)[:, :49] * tensors["t.scale"]
    ids = np.array([[0, 299, 7], [5, 5, 1]], np.float32)
    np.testing.assert_allclose(answered(made, [{"x": ids}]), meant[ids.astype(int)].reshape(-1), rtol=1e-6)
    assert np.square(meant - table).mean() < {2: 0.02, 3: 0.1, 4: 0.2}[word] * np.square(table).mean()
    assert report.weights["uint8"] == 300 * -(-49 // word)


def test_what_words_do_not_fill_stays_and_is_named(taken: Taken) -> None:
    nodes = [
        helper.make_node("MatMul", ["x", "a"], ["h"], name="first"),
        helper.make_node("MatMul", ["h", "b"], ["y"], name="second"),
    ]
    model = model_of(nodes, {"a": numbers(30, 20), "b": numbers(20, 6)}, ("n", 30))
    _, report = taken(Codebook(word=3), model, [{"x": numbers(50, 30)}])
    assert report.left[0] == "second: its inputs are no multiple of 3"
    nodes = [
        helper.make_node("Cast", ["x"], ["ids"], to=onnx.TensorProto.INT64),
        helper.make_node("Gather", ["t", "ids"], ["y"]),
    ]
    with pytest.raises(CompressionError, match="table-codebook: the graph has no table"):
        taken(TableCodebook(), model_of(nodes, {"t": numbers(30, 64)}, ["n"]))


def test_a_large_convolution_of_one_position_takes_part_and_stays_out_of_the_integers(taken: Taken) -> None:
    nodes = [
        helper.make_node("Conv", ["x", "a"], ["h"], name="wide", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["h"], ["r"], name="relu"),
        helper.make_node("Conv", ["r", "b", "c"], ["p"], name="point"),
        helper.make_node("GlobalAveragePool", ["p"], ["m"], name="mean"),
        helper.make_node("Flatten", ["m"], ["f"], name="flat"),
        helper.make_node("Gemm", ["f", "d"], ["y"], name="head", transB=1),
    ]
    constants = {"a": numbers(16, 4, 3, 3), "b": numbers(32, 16, 1, 1), "c": numbers(32), "d": numbers(10, 32)}
    model = model_of(nodes, constants, ("n", 4, 6, 6))
    batches = [{"x": numbers(1, 4, 6, 6)} for _ in range(40)]
    made, report = taken(Codebook(pointwise=500), model, batches)
    assert report.weights["uint8"] == (32 * 16 + 10 * 32) // 2
    assert taken(Codebook(pointwise=600), model, batches)[1].weights["uint8"] == 10 * 32 // 2
    exact = answered(model, batches)
    assert np.square(answered(made, batches) - exact).mean() < 0.01 * np.square(exact).mean()
    pressed, after = taken(StaticInt8(), made, batches)
    assert np.square(answered(pressed, batches) - exact).mean() < 0.02 * np.square(exact).mean()
    assert after.weights["uint8"] >= report.weights["uint8"]
    assert after.weights["int8"] >= 16 * 4 * 9
    makers = {name: node for node in onnx.load_from_string(pressed).graph.node for name in node.output}
    layers = {node.name: makers[node.input[1]].op_type for node in makers.values() if node.op_type in ("Conv", "Gemm")}
    assert layers == {"wide": "DequantizeLinear", "point": "Mul", "head": "Mul"}
