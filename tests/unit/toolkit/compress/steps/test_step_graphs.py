"""Steps that change the form of a graph and nothing of what it says."""

from __future__ import annotations

import numpy as np
import pytest

from tests.unit.toolkit.compress.steps.conftest import Taken
from tests.unit.toolkit.compress.steps.graphs import given_by, model_of, numbers
from toolkit.compress.errors import CompressionError
from toolkit.compress.quiet import quiet
from toolkit.compress.steps.fuse import Fuse
from toolkit.compress.steps.slim import Slim

with quiet():
    import onnx
    import onnxruntime
    from onnx import helper


def gelu(weights: str = "w") -> list[onnx.NodeProto]:
    """MatMul and GELU as older exports write it."""
    return [
        helper.make_node("MatMul", ["x", weights], ["h"], name="m"),
        helper.make_node("Div", ["h", "root"], ["d"], name="d"),
        helper.make_node("Erf", ["d"], ["e"], name="e"),
        helper.make_node("Add", ["e", "one"], ["a"], name="a"),
        helper.make_node("Mul", ["h", "a"], ["p"], name="p"),
        helper.make_node("Mul", ["p", "half"], ["y"], name="q"),
    ]


CONSTANTS = {
    "w": numbers(8, 8),
    "root": np.array(np.sqrt(2), np.float32),
    "one": np.array(1, np.float32),
    "half": np.array(0.5, np.float32),
}


def test_constants_are_folded_and_idle_nodes_go(taken: Taken) -> None:
    nodes = [
        helper.make_node("Add", ["w", "w"], ["twice"], name="fold"),
        helper.make_node("Identity", ["x"], ["same"], name="idle"),
        helper.make_node("MatMul", ["same", "twice"], ["y"], name="m"),
    ]
    given = model_of(nodes, {"w": CONSTANTS["w"]}, ("batch", 8))
    slim, report = taken(Slim(), given)
    assert [node.op_type for node in onnx.load_from_string(slim).graph.node] == ["MatMul"]
    assert report.left == ("2 of 3 nodes went",)
    x = numbers(3, 8)
    assert np.allclose(given_by(slim, x=x), given_by(given, x=x), atol=1e-5)


def test_groups_become_one_operator_of_the_runtime(taken: Taken) -> None:
    given = model_of(gelu(), CONSTANTS, ("batch", "tokens", 8))
    fused, report = taken(Fuse(), given)
    assert "Gelu" in {node.op_type for node in onnx.load_from_string(fused).graph.node}
    assert report.left == ("1 operators of the runtime came in",)
    x = numbers(2, 3, 8)
    session = onnxruntime.InferenceSession(fused, providers=["CPUExecutionProvider"])
    assert np.allclose(session.run(None, {"x": x})[0], given_by(given, x=x), atol=1e-5)


@pytest.mark.parametrize("step", [Slim(), Fuse()])
def test_what_is_no_model_is_refused(taken: Taken, step: Slim | Fuse) -> None:
    with pytest.raises(CompressionError) as caught:
        taken(step, b"no model")
    assert caught.value.code == "step_failed"
