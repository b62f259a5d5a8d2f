"""A network of convolutions that learned in rounded form is the graph of integers that `static-int8` makes."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray

from tests.unit.toolkit.compress.steps.conftest import Taken
from tests.unit.toolkit.compress.steps.graphs import convolved, model_of, numbers
from toolkit.compress.calibration import Calibration
from toolkit.compress.quiet import quiet
from toolkit.compress.step import Form
from toolkit.compress.steps.qat import Qat
from toolkit.compress.steps.static_int8 import StaticInt8

with quiet():
    import onnx
    import torch
    from onnx import helper, numpy_helper

    from toolkit.compress.layers import Graph
    from toolkit.compress.rounding import plan_of
    from toolkit.train.network import as_tensors
    from toolkit.train.student import student_of

FORMS = [
    StaticInt8(scales="seven-bits"),
    StaticInt8(scales="pairs"),
    StaticInt8(scales="seven-bits", per_channel=False, range="mse"),
    StaticInt8(scales="pairs", exclude=("project",)),
]


def images(items: int, seed: int) -> list[dict[str, NDArray[Any]]]:
    random = np.random.default_rng(seed)
    return [{"x": random.normal(size=(1, 3, 8, 8)).astype(np.float32)} for _ in range(items)]


ITEMS, OTHERS = images(12, 0), images(8, 1)


def says(model: bytes, item: dict[str, NDArray[Any]]) -> NDArray[np.float32]:
    """As the graph is written: what kernels of integers make of it is up to a level away, whoever rounded it."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    found: NDArray[np.float32] = session.run(None, item)[0]
    return found


def apart(model: bytes, right: bytes) -> float:
    pairs = [(says(model, item), says(right, item)) for item in OTHERS]
    return float(np.mean([np.linalg.norm(ours - theirs) / np.linalg.norm(theirs) for ours, theirs in pairs]))


def form(model: bytes) -> tuple[list[Any], list[Any]]:
    graph = onnx.load_from_string(model).graph
    nodes = [(node.op_type, node.name, list(node.input)) for node in graph.node]
    return nodes, sorted((one.name, one.data_type, list(one.dims)) for one in graph.initializer)


def step_of_answer(model: bytes) -> float:
    """How far the answers of a quantised graph are from each other."""
    graph = onnx.load_from_string(model).graph
    [scale] = [node.input[1] for node in graph.node if node.op_type == "DequantizeLinear" and "y" in node.output]
    return float(next(numpy_helper.to_array(one) for one in graph.initializer if one.name == scale))


class Moved:
    """Stands where it learned to be: some way from where it began."""

    takes: ClassVar[frozenset[Form]] = Qat.takes
    gives: ClassVar[Form | None] = Qat.gives
    calibrates: ClassVar[bool] = True

    def __init__(self, to: StaticInt8) -> None:
        self.to = to
        self.said: list[NDArray[np.float32]] = []

    def apply(self, model: bytes, data: Calibration) -> Any:
        plan = plan_of(self.to, Graph(model, "qat"), data)
        network = student_of(plan.student, plan.lesson)
        torch.manual_seed(0)
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.add_(0.02 * torch.randn(parameter.shape))
        for item in OTHERS:
            self.said.append(network(as_tensors(item), network.outputs)[0].detach().numpy())
        return plan.finished(model, network.weights())


@pytest.mark.parametrize("to", FORMS, ids=repr)
def test_the_graph_gives_what_the_network_gave(taken: Taken, to: StaticInt8) -> None:
    model, moved = convolved(), Moved(to)
    made, _ = taken(moved, model, ITEMS)
    whole, _ = taken(to, model, ITEMS)
    assert form(made) == form(whole)
    # a sum that lies half-way between two levels may go either way, and what comes after it follows
    step = step_of_answer(made)
    assert max(np.abs(one - says(made, item)).max() for one, item in zip(moved.said, OTHERS, strict=True)) < 3.5 * step


def test_with_finer_levels_between_them_the_layers_give_the_same(taken: Taken) -> None:
    moved = Moved(StaticInt8(scales="pairs", activation_bits=16))
    made, _ = taken(moved, convolved(), ITEMS)
    pairs = [(one, says(made, item)) for one, item in zip(moved.said, OTHERS, strict=True)]
    assert max(float(np.linalg.norm(ours - theirs) / np.linalg.norm(theirs)) for ours, theirs in pairs) < 1e-3


def uneven() -> bytes:
    """What `convolved` gives, with two channels that are far larger than the others on their way."""
    model = onnx.load_from_string(convolved(squeeze=False))
    for tensor in model.graph.initializer:
        value = numpy_helper.to_array(tensor).copy()
        if tensor.name in ("depth.w", "depth.b"):
            value[:2] *= 12
        if tensor.name == "project.w":
            value[:, :2] /= 12
        tensor.CopyFrom(numpy_helper.from_array(value, tensor.name))
    data: bytes = model.SerializeToString()
    return data


def test_what_learns_while_it_is_rounded_comes_nearer_than_what_is_only_rounded(taken: Taken) -> None:
    parent, items, to = uneven(), images(48, 0), StaticInt8(scales="seven-bits", per_channel=False)
    rounded, _ = taken(to, parent, items)
    learned, report = taken(Qat(to=to, epochs=6, batch=8, rate=1e-3), parent, items, parent)
    assert report.spent is not None
    assert report.spent.after < report.spent.before
    assert apart(learned, parent) < 0.7 * apart(rounded, parent)


def test_constants_that_become_integers_once_are_held_and_a_clip_that_is_left_out_still_cuts(taken: Taken) -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["c"], name="c"),
        helper.make_node("Clip", ["c", "least", "most"], ["k"]),
        helper.make_node("Add", ["k", "added"], ["a"]),
        helper.make_node("Mul", ["a", "factor"], ["y"]),
    ]
    limits = {"least": np.array(0, np.float32), "most": np.array(1, np.float32)}
    weights = {"w": numbers(4, 3, 1, 1), "b": numbers(4), "added": numbers(1, 4, 1, 1), "factor": numbers(1, 4, 1, 1)}
    moved = Moved(StaticInt8(scales="seven-bits", reach="graph"))
    made, _ = taken(moved, model_of(nodes, {**weights, **limits}, ("n", 3, 8, 8)), ITEMS)
    step = step_of_answer(made)
    assert "Clip" not in {one.op_type for one in onnx.load_from_string(made).graph.node}
    for one, item in zip(moved.said, OTHERS, strict=True):
        assert np.abs(one - says(made, item)).max() < 1.5 * step
