"""Whole layers go; that which does least goes first, and what it did is made up for where a matrix can."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray

from tests.unit.toolkit.compress.steps.conftest import Taken
from tests.unit.toolkit.compress.steps.graphs import encoder, tokens
from toolkit.compress.errors import CompressionError
from toolkit.compress.quiet import quiet
from toolkit.compress.steps.drop_layers import DropLayers

with quiet():
    import onnx
    from onnx import helper, numpy_helper

BATCHES = tokens(30)


def run(model: bytes, number: int = 0) -> NDArray[np.float32]:
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    given: NDArray[np.float32]
    [given] = session.run(None, BATCHES[number])
    return given


def idle(model: bytes, layer: int) -> bytes:
    """The same with one layer that does nothing, in a model that normalises before each network."""
    proto = onnx.load_from_string(model)
    for tensor in proto.graph.initializer:
        if tensor.name in {f"{layer}{part}.{kind}" for part in "af" for kind in "wb"}:
            tensor.CopyFrom(numpy_helper.from_array(np.zeros(tensor.dims, np.float32), tensor.name))
    return bytes(proto.SerializeToString())


@pytest.mark.parametrize("layer", [0, 1, 2, 3])
@pytest.mark.parametrize("repair", [True, False])
def test_a_layer_that_does_nothing_goes_and_nothing_changes(taken: Taken, layer: int, repair: bool) -> None:
    model = idle(encoder(4, before=True), layer)
    pruned, report = taken(DropLayers(repair=repair), model, BATCHES)
    assert report.left == (f"{layer}a.q.matmul: layer {layer + 1} of 4 went",)
    nodes = onnx.load_from_string(pruned).graph.node
    assert sum(node.op_type == "Softmax" for node in nodes) == 3
    np.testing.assert_allclose(run(pruned), run(model), atol=1e-3)
    assert report.bytes_after < 0.85 * report.bytes_before


@pytest.mark.parametrize("before", [True, False])
def test_what_a_matrix_can_make_up_for_is_made_up_for(taken: Taken, before: bool) -> None:
    model = encoder(4, before=before)
    lost = {}
    for repair in (True, False):
        pruned, report = taken(DropLayers(layers=3, repair=repair), model, BATCHES)
        lost[repair] = float(np.square(run(pruned, 3) - run(model, 3)).sum())
        assert len(report.left) == 3
        # in a row they are one matrix
        joined = sum(tensor.name.endswith(".matrix") for tensor in onnx.load_from_string(pruned).graph.initializer)
        assert joined in ((1, 2) if repair else (0,))
    assert lost[True] < 0.6 * lost[False]


def test_one_layer_stays(taken: Taken) -> None:
    with pytest.raises(CompressionError, match="2 layers that are alike were found, and 2 should go"):
        taken(DropLayers(layers=2), encoder(2), BATCHES)


def test_layers_of_which_one_is_looked_at_from_outside_stay(taken: Taken) -> None:
    model = onnx.load_from_string(encoder(3))
    model.graph.output.append(helper.make_tensor_value_info("0f.n", onnx.TensorProto.FLOAT, None))
    with pytest.raises(CompressionError, match="0 layers that are alike"):
        taken(DropLayers(), model.SerializeToString(), BATCHES)


def test_layers_that_are_not_alike_stay(taken: Taken) -> None:
    model = onnx.load_from_string(encoder(3))
    relu = helper.make_node("Relu", ["1f.n"], ["1f.relu"])
    position = next(number for number, node in enumerate(model.graph.node) if node.name == "1f.n")
    for node in model.graph.node:
        node.input[:] = ["1f.relu" if name == "1f.n" else name for name in node.input]
    model.graph.node.insert(position + 1, relu)
    with pytest.raises(CompressionError, match="0 layers that are alike"):
        taken(DropLayers(), model.SerializeToString(), BATCHES)
