"""Neurons go: those that are double for nothing, and whatever an activation looks like; what is tied to more stays."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray

from tests.unit.toolkit.compress.steps.conftest import Taken
from tests.unit.toolkit.compress.steps.graphs import given_by, model_of, numbers
from toolkit.compress.errors import CompressionError
from toolkit.compress.quiet import quiet
from toolkit.compress.steps.prune_neurons import PruneNeurons

with quiet():
    import onnx
    from onnx import helper, numpy_helper

X = [{"x": numbers(400, 8)} for _ in range(4)]
ONES = {"root": np.array(np.sqrt(2), np.float32), "one": np.array(1, np.float32), "half": np.array(0.5, np.float32)}
FIRST = [helper.make_node("MatMul", ["x", "a"], ["m"], name="first"), helper.make_node("Add", ["m", "b"], ["h"])]
GELU = [
    helper.make_node("Div", ["h", "root"], ["d"]),
    helper.make_node("Erf", ["d"], ["e"]),
    helper.make_node("Add", ["e", "one"], ["f"]),
    helper.make_node("Mul", ["h", "f"], ["g"]),
    helper.make_node("Mul", ["g", "half"], ["r"]),
]
GATED = [
    helper.make_node("Gemm", ["x", "t", "b"], ["gate"], name="gate", transB=1),
    helper.make_node("Sigmoid", ["gate"], ["open"]),
    helper.make_node("Mul", ["h", "open"], ["r"]),
]
SECOND = [helper.make_node("MatMul", ["r", "c"], ["n"], name="second"), helper.make_node("Add", ["n", "o"], ["y"])]


def network(*activation: onnx.NodeProto, double: bool = False) -> bytes:
    """8 channels to 64 and to 5; with `double` every neuron is there twice."""
    wide: dict[str, Any] = {"a": numbers(8, 64), "b": numbers(64), "t": numbers(64, 8), "c": numbers(64, 5)}
    if double:
        for name, axis in (("a", 1), ("b", 0), ("t", 0)):
            wide[name] = np.repeat(np.take(wide[name], np.arange(32), axis), 2, axis)
    constants = {**wide, **ONES, "o": numbers(5)}
    nodes = [*FIRST, *activation, *SECOND]
    used = {name for node in nodes for name in node.input}
    return model_of(nodes, {name: value for name, value in constants.items() if name in used}, ("n", 8))


def noise(model: bytes, right: bytes, x: NDArray[np.float32]) -> float:
    """The size of what changed over that of what is right."""
    expected = given_by(right, x=x)
    return float(np.linalg.norm(given_by(model, x=x) - expected) / np.linalg.norm(expected))


def shapes(model: bytes) -> dict[str, tuple[int, ...]]:
    return {tensor.name: tuple(tensor.dims) for tensor in onnx.load_from_string(model).graph.initializer}


@pytest.mark.parametrize("activation", [[helper.make_node("Relu", ["h"], ["r"])], GELU, GATED])
def test_neurons_that_are_there_twice_go_and_little_changes(taken: Taken, activation: list[onnx.NodeProto]) -> None:
    model = network(*activation, double=True)
    pruned, report = taken(PruneNeurons(keep=0.5), model, X)
    x = numbers(30, 8)
    bare, _ = taken(PruneNeurons(keep=0.5, repair=False), model, X)
    # not nothing: the repair is damped, and which of a pair goes is told by samples
    assert noise(pruned, model, x) < noise(bare, model, x) / 2
    made = shapes(pruned)
    assert (made["a"], made["b"], made["c"]) == ((8, 32), (32,), (32, 5))
    assert report.shapes["first"] == (32, 8)
    assert report.shapes["second"] == (5, 32)
    assert made.get("t", (32, 8)) == (32, 8)
    session = onnxruntime.InferenceSession(pruned, providers=["CPUExecutionProvider"])
    np.testing.assert_allclose(session.run(None, {"x": x})[0], given_by(pruned, x=x), rtol=1e-3, atol=1e-4)


def test_what_stays_is_a_multiple_and_never_nothing(taken: Taken) -> None:
    model = network(helper.make_node("Relu", ["h"], ["r"]))
    for keep, multiple, width in ((0.75, 10, 40), (0.75, 1, 48), (0.01, 16, 16), (1.0, 16, 64)):
        pruned, _ = taken(PruneNeurons(keep=keep, multiple=multiple), model, X)
        assert shapes(pruned)["c"] == (width, 5)


def test_the_runtimes_own_activations_are_gone_through(taken: Taken) -> None:
    nodes = [
        helper.make_node("MatMul", ["x", "a"], ["m"], name="first"),
        helper.make_node("BiasGelu", ["m", "b"], ["r"], domain="com.microsoft"),
        helper.make_node("MatMul", ["r", "c"], ["y"], name="second"),
    ]
    fused = onnx.load_from_string(
        model_of(nodes, {"a": numbers(8, 64), "b": numbers(64), "c": numbers(64, 5)}, ("n", 8))
    )
    fused.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    pruned, _ = taken(PruneNeurons(keep=0.5), fused.SerializeToString(), X)
    assert shapes(pruned)["b"] == (32,)
    given = onnxruntime.InferenceSession(pruned, providers=["CPUExecutionProvider"]).run(None, X[0])
    assert given[0].shape == (400, 5)


@pytest.mark.parametrize(
    "activation",
    [
        [helper.make_node("Softmax", ["h"], ["r"])],  # a channel depends on all
        [helper.make_node("Relu", ["h"], ["r"]), helper.make_node("Identity", ["h"], ["y2"])],  # it leaves the graph
        [helper.make_node("Relu", ["h"], ["s"]), helper.make_node("Mul", ["s", "other"], ["r"])],  # made by no layer
        [helper.make_node("MatMul", ["h", "w"], ["s"], name="w"), helper.make_node("Mul", ["s", "h"], ["r"])],
    ],
)
def test_what_is_more_than_channels_stays(taken: Taken, activation: list[onnx.NodeProto]) -> None:
    nodes = [*FIRST, helper.make_node("ReduceSum", ["h", "axis"], ["other"]), *activation, *SECOND]
    constants = {"a": numbers(8, 64), "b": numbers(64), "c": numbers(64, 5), "o": numbers(5), "w": numbers(64, 64)}
    model = onnx.load_from_string(model_of(nodes, constants, ("n", 8)))
    model.graph.initializer.append(numpy_helper.from_array(np.array([1]), "axis"))
    if activation[-1].op_type == "Identity":
        model.graph.output.append(helper.make_tensor_value_info("y2", onnx.TensorProto.FLOAT, None))
    with pytest.raises(CompressionError, match="nothing of the kind"):
        taken(PruneNeurons(), model.SerializeToString(), X)


def test_the_network_that_matters_less_loses_more(taken: Taken) -> None:
    def branch(name: str) -> list[onnx.NodeProto]:
        return [
            helper.make_node("MatMul", ["x", f"{name}1"], [f"{name}m"], name=f"{name}1"),
            helper.make_node("Relu", [f"{name}m"], [f"{name}r"]),
            helper.make_node("MatMul", [f"{name}r", f"{name}2"], [f"{name}y"], name=f"{name}2"),
        ]

    nodes = [
        *branch("a"),
        *branch("b"),
        helper.make_node("Mul", ["by", "little"], ["less"]),
        helper.make_node("Add", ["ay", "less"], ["y"]),
    ]
    constants = {"a1": numbers(8, 64), "a2": numbers(64, 5), "b1": numbers(8, 64), "b2": numbers(64, 5)}
    model = model_of(nodes, {**constants, "little": np.array(0.01, np.float32)}, ("n", 8))
    pruned, _ = taken(PruneNeurons(keep=0.6, multiple=4), model, X)
    made = shapes(pruned)
    assert made["b2"][0] < 16 < 60 <= made["a2"][0]
