"""Heads go, with all that counts them; what is no plain attention stays."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnxruntime
import pytest

from tests.unit.toolkit.compress.steps.conftest import Taken
from tests.unit.toolkit.compress.steps.graphs import encoder, numbers, tokens
from toolkit.compress.errors import CompressionError
from toolkit.compress.quiet import quiet
from toolkit.compress.steps.prune_heads import PruneHeads
from toolkit.compress.steps.prune_neurons import PruneNeurons

with quiet():
    import onnx
    from onnx import helper, numpy_helper

BATCHES = tokens(30)
FORMS = [
    encoder(),
    encoder(split=(0, 0, 4, -1)),
    encoder(split=(0, 0, -1, 8)),
    encoder(computed=True),
    encoder(computed=True, split=(-1, 8)),
    encoder(before=True),
]


def run(
    model: bytes, batch: dict[str, np.ndarray[tuple[int, ...], np.dtype[np.int64]]]
) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """By the runtime, for more than one item, one of them padded."""
    ids = np.concatenate([batch["input_ids"], batch["input_ids"][:, ::-1]])
    mask = np.ones_like(ids)
    mask[1, -2:] = 0
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    given: np.ndarray[tuple[int, ...], np.dtype[np.float32]]
    [given] = session.run(None, {"input_ids": ids, "attention_mask": mask})
    return given


def weights(model: bytes) -> dict[str, np.ndarray[tuple[int, ...], np.dtype[np.float32]]]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load_from_string(model).graph.initializer}


@pytest.mark.parametrize("model", FORMS)
def test_half_of_the_heads_go_and_the_runtime_takes_the_rest(taken: Taken, model: bytes) -> None:
    pruned, report = taken(PruneHeads(keep=0.5), model, BATCHES)
    made = weights(pruned)
    kept = [made[f"{number}a.w"].shape[0] for number in range(2)]
    assert sum(kept) == 32
    assert all(width % 8 == 0 and width for width in kept)
    for number, width in enumerate(kept):
        assert {made[f"{number}a.{part}.w"].shape for part in "qkv"} == {(32, width)}
        assert {made[f"{number}a.{part}.b"].shape for part in "qkv"} == {(width,)}
        if width != 32:
            assert report.shapes[f"{number}a.matmul"] == (32, width)
    assert run(pruned, BATCHES[0]).shape == run(model, BATCHES[0]).shape
    again, _ = taken(PruneNeurons(keep=0.5), pruned, BATCHES)
    assert run(again, BATCHES[1]).shape == run(model, BATCHES[1]).shape


@pytest.mark.parametrize("model", [FORMS[0], FORMS[3]])
def test_a_head_that_says_nothing_goes_first_and_nothing_changes(taken: Taken, model: bytes) -> None:
    silent = onnx.load_from_string(model)
    for tensor in silent.graph.initializer:
        if tensor.name in ("0a.w", "1a.w"):
            array = numpy_helper.to_array(tensor).copy()
            array[8:16] = 0
            tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    before = silent.SerializeToString()
    pruned, _ = taken(PruneHeads(keep=0.75), before, BATCHES)
    np.testing.assert_allclose(run(pruned, BATCHES[0]), run(before, BATCHES[0]), atol=1e-4)
    whole, made = weights(before), weights(pruned)
    others = np.r_[0:8, 16:32]
    for number in range(2):
        np.testing.assert_array_equal(made[f"{number}a.q.w"], whole[f"{number}a.q.w"][:, others])


def test_the_rest_makes_up_for_what_goes(taken: Taken) -> None:
    lost = {}
    for repair in (True, False):
        pruned, _ = taken(PruneHeads(keep=0.5, repair=repair), FORMS[0], BATCHES)
        lost[repair] = sum(
            float(np.square(run(pruned, one) - run(FORMS[0], one))[0].sum()) for one in tokens(20, seed=1)
        )
    assert lost[True] < 0.95 * lost[False]


def changed(change: Callable[[onnx.GraphProto], None]) -> bytes:
    model = onnx.load_from_string(encoder(1))
    change(model.graph)
    return bytes(model.SerializeToString())


def own_mask(graph: onnx.GraphProto) -> None:
    """Something of its own for each head, added to the scores."""
    graph.initializer.append(numpy_helper.from_array(numbers(1, 4, 1, 1), "own"))
    next(node for node in graph.node if node.op_type == "Add" and "mask" in node.input).input[1] = "own"


def one_matrix(graph: onnx.GraphProto) -> None:
    """Queries that are keys."""
    for node in graph.node:
        if node.name == "0a.q.matmul":
            node.output[0] = "unused"
        if node.name == "0a.q.add":
            node.input[0] = "0a.k.p"


def looked_at(graph: onnx.GraphProto) -> None:
    """The weights of the attention leave the graph."""
    graph.output.append(helper.make_tensor_value_info("0a.s.3", onnx.TensorProto.FLOAT, None))


def mixed(graph: onnx.GraphProto) -> None:
    """A softmax over the heads."""
    next(node for node in graph.node if node.op_type == "Softmax").attribute[0].i = 1


@pytest.mark.parametrize("change", [own_mask, one_matrix, looked_at, mixed])
def test_another_attention_stays_and_is_named(taken: Taken, change: Callable[[onnx.GraphProto], None]) -> None:
    with pytest.raises(CompressionError, match=r"nothing of the kind; 0a\.matmul"):
        taken(PruneHeads(), changed(change), BATCHES)


def test_a_graph_without_attention_is_refused(taken: Taken) -> None:
    model = onnx.load_from_string(encoder(1))
    next(node for node in model.graph.node if node.op_type == "Softmax").op_type = "Sigmoid"
    for node in model.graph.node:
        if node.op_type == "Sigmoid":
            del node.attribute[:]
    with pytest.raises(CompressionError, match="nothing of the kind"):
        taken(PruneHeads(), model.SerializeToString(), BATCHES)
