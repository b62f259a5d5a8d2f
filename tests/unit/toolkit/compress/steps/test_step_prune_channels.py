"""Channels go with all that hangs on them, and nothing else changes; what is tied to more stays."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.unit.toolkit.compress.steps.conftest import Taken
from tests.unit.toolkit.compress.steps.graphs import convolved, model_of, numbers, restart
from toolkit.compress.errors import CompressionError
from toolkit.compress.quiet import quiet
from toolkit.compress.steps.prune_channels import PruneChannels

with quiet():
    import onnx
    from onnx import helper, numpy_helper

    from toolkit.compress.coupled import coupled
    from toolkit.compress.inner import taken_out
    from toolkit.compress.layers import Graph

Node = onnx.NodeProto


def batches(count: int = 6) -> list[dict[str, NDArray[np.float32]]]:
    return [{"x": numbers(4, 3, 8, 8)} for _ in range(count)]


def run(model: bytes, x: NDArray[np.float32]) -> NDArray[np.float32]:
    given: NDArray[np.float32] = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"]).run(
        None, {"x": x}
    )[0]
    return given


def noise(model: bytes, right: bytes, x: NDArray[np.float32]) -> float:
    expected = run(right, x)
    return float(np.linalg.norm(run(model, x) - expected) / np.linalg.norm(expected))


def shapes(model: bytes) -> dict[str, tuple[int, ...]]:
    return {tensor.name: tuple(tensor.dims) for tensor in onnx.load_from_string(model).graph.initializer}


def silenced(model: bytes, taken: Mapping[str, Sequence[int]], axis: int = 1) -> bytes:
    """The same whose weights have zeros for some channels, by the names of the weights."""
    proto = onnx.load_from_string(model)
    for tensor in proto.graph.initializer:
        if tensor.name in taken:
            weights = numpy_helper.to_array(tensor).copy()
            weights[(slice(None),) * axis + (list(taken[tensor.name]),)] = 0
            tensor.CopyFrom(numpy_helper.from_array(weights, tensor.name))
    data: bytes = proto.SerializeToString()
    return data


def gone(before: bytes, after: bytes, maker: str) -> list[int]:
    """The filters of a layer that are no more."""
    old, new = (
        next(numpy_helper.to_array(one) for one in onnx.load_from_string(model).graph.initializer if one.name == maker)
        for model in (before, after)
    )
    return [row for row, one in enumerate(old) if not any(np.array_equal(one, other) for other in new)]


@pytest.mark.parametrize("squeeze", [False, True])
def test_what_goes_is_what_it_was_with_zeros_in_its_place(taken: Taken, squeeze: bool) -> None:
    model = convolved(squeeze=squeeze)
    # the stem, whose 8 channels run through the shortcut to the end, cannot lose 8; nor can the 6 inside of the squeeze
    pruned, report = taken(PruneChannels(keep=0.75, repair=False), model, batches())
    made = shapes(pruned)
    assert made["expand.w"] == (16, 8, 1, 1)
    assert made["depth.w"] == (16, 1, 3, 3)
    assert made["project.w"] == (8, 16, 1, 1)
    assert {made[f"norm.{part}"] for part in "gbmv"} == {(16,)}
    assert report.shapes["project"] == (8, 16)
    depth = next(node for node in onnx.load_from_string(pruned).graph.node if node.name == "depth")
    assert {one.name: one.i for one in depth.attribute}["group"] == 16
    lost = gone(model, pruned, "expand.w")
    right = silenced(model, {"project.w": lost, "squeeze.w": lost})
    x = numbers(3, 3, 8, 8)
    np.testing.assert_allclose(run(pruned, x), run(right, x), rtol=1e-4, atol=1e-5)
    assert made["stem.w"][0] == 8


def test_a_sum_that_runs_through_loses_channels_in_all_that_adds_to_it_and_takes_it(taken: Taken) -> None:
    model = convolved()
    pruned, _ = taken(PruneChannels(keep=0.2, multiple=2, repair=False), model, batches())
    made = shapes(pruned)
    width = made["stem.w"][0]
    assert width < 8
    assert (made["project.w"][0], made["expand.w"][1], made["head.w"][1]) == (width, width, width)
    assert made["squeeze.w"][0] == made["excite.w"][1] < 6
    assert np.isfinite(run(pruned, numbers(2, 3, 8, 8))).all()


def test_channels_that_are_there_twice_go_and_little_changes(taken: Taken) -> None:
    model = convolved(double=True)
    data = batches(40)
    pruned, _ = taken(PruneChannels(keep=0.5), model, data)
    bare, _ = taken(PruneChannels(keep=0.5, repair=False), model, data)
    x = numbers(20, 3, 8, 8)
    assert noise(pruned, model, x) < min(0.1, noise(bare, model, x) / 2)


def test_a_kernel_of_several_positions_is_fitted_at_each(taken: Taken) -> None:
    half = {"a": numbers(8, 3, 3, 3), "ab": numbers(8)}
    weights = {name: np.repeat(one, 2, 0) for name, one in half.items()} | {"c": numbers(4, 16, 3, 3), "cb": numbers(4)}
    for pads in ([1, 1, 1, 1], [0, 0, 0, 0]):
        nodes = [
            helper.make_node("Conv", ["x", "a", "ab"], ["h"], name="first", pads=[1, 1, 1, 1]),
            helper.make_node("Relu", ["h"], ["r"]),
            helper.make_node("Conv", ["r", "c", "cb"], ["y"], name="second", pads=pads),
        ]
        model = model_of(nodes, weights, ("n", 3, 8, 8))
        pruned, _ = taken(PruneChannels(keep=0.5), model, batches(20))
        assert shapes(pruned)["c"] == (4, 8, 3, 3)
        bare, _ = taken(PruneChannels(keep=0.5, repair=False), model, batches(20))
        x = numbers(10, 3, 8, 8)
        assert noise(pruned, model, x) < noise(bare, model, x) / 4


@pytest.mark.parametrize(
    "flat",
    [
        helper.make_node("Flatten", ["r"], ["f"]),
        helper.make_node("Reshape", ["r", "row"], ["f"]),
        helper.make_node("Reshape", ["r", "rest"], ["f"]),
    ],
)
def test_a_linear_layer_takes_every_place_of_a_channel(taken: Taken, flat: Node) -> None:
    weights: dict[str, Any] = {"a": numbers(16, 3, 3, 3), "b": numbers(16 * 36, 5)}
    weights |= {"row": np.array([-1, 16 * 36]), "rest": np.array([2, -1])}
    nodes = [
        helper.make_node("Conv", ["x", "a"], ["h"], name="first"),
        helper.make_node("Relu", ["h"], ["r"]),
        flat,
        helper.make_node("MatMul", ["f", "b"], ["y"], name="second"),
    ]
    used = {name for node in nodes for name in node.input}
    model = model_of(nodes, {name: one for name, one in weights.items() if name in used}, (2, 3, 8, 8))
    pruned, _ = taken(PruneChannels(keep=0.5, repair=False), model, [{"x": numbers(2, 3, 8, 8)} for _ in range(4)])
    lost = [36 * row + place for row in gone(model, pruned, "a") for place in range(36)]
    assert shapes(pruned)["b"] == (8 * 36, 5)
    x = numbers(2, 3, 8, 8)
    np.testing.assert_allclose(run(pruned, x), run(silenced(model, {"b": lost}, axis=0), x), rtol=1e-4, atol=1e-4)


STAGES: dict[str, Callable[[str, str], Node]] = {
    "relu": lambda a, b: helper.make_node("Relu", [a], [b]),
    "clip": lambda a, b: helper.make_node("Clip", [a, "least", "most"], [b]),
    "norm": lambda a, b: helper.make_node("BatchNormalization", [a, "v", "v", "v", "p"], [b]),
    "scale": lambda a, b: helper.make_node("Mul", [a, "planes"], [b]),
    "slope": lambda a, b: helper.make_node("PRelu", [a, "planes"], [b]),
    "depth": lambda a, b: helper.make_node("Conv", [a, f"d{a}", "v"], [b], group=12, pads=[1, 1, 1, 1]),
    "pad": lambda a, b: helper.make_node("Pad", [a, "pads"], [b]),
    "pool": lambda a, b: helper.make_node("MaxPool", [a], [b], kernel_shape=[2, 2]),
    "gate": lambda a, b: helper.make_node("Mul", [a, a], [b]),
}


@settings(deadline=None, max_examples=40)
@given(st.lists(st.sampled_from(sorted(STAGES)), max_size=5), st.sets(st.integers(0, 11), min_size=1, max_size=11))
def test_whatever_lies_between_the_channels_that_stay_are_what_they_were(stages: list[str], kept: set[int]) -> None:
    restart()
    nodes = [helper.make_node("Conv", ["x", "a", "v"], ["h0"], name="first")]
    nodes += [STAGES[stage](f"h{number}", f"h{number + 1}") for number, stage in enumerate(stages)]
    nodes.append(helper.make_node("Conv", [f"h{len(stages)}", "c"], ["y"], name="second"))
    weights: dict[str, Any] = {
        "a": numbers(12, 3, 1, 1),
        "v": numbers(12),
        "p": np.abs(numbers(12)) + 1,
        "planes": numbers(12, 1, 1),
        **{f"dh{number}": numbers(12, 1, 3, 3) for number in range(5)},
        "c": numbers(4, 12, 1, 1),
        "pads": np.array([0, 0, 1, 0, 0, 0, 0, 2]),
        "least": np.array(-1, np.float32),
        "most": np.array(1, np.float32),
    }
    used = {name for node in nodes for name in node.input}
    model = model_of(nodes, {name: one for name, one in weights.items() if name in used}, ("n", 3, 8, 8))
    graph = Graph(model, "prune-channels")
    [inner] = coupled(graph)
    stay = np.array(sorted(kept))
    taking = weights["c"][:, :, 0, 0][:, stay]
    taken_out(graph, inner, stay, [(taking, np.zeros(4, np.float32))])
    pruned, _ = graph.finished()
    right = silenced(model, {"c": [number for number in range(12) if number not in kept]})
    x = numbers(2, 3, 8, 8)
    np.testing.assert_allclose(run(pruned, x), run(right, x), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("nodes", "why"),
    [
        ([helper.make_node("Concat", ["h", "h"], ["r"], axis=1)], "of the kind Concat"),
        ([helper.make_node("Transpose", ["h"], ["r"], perm=[0, 1, 3, 2])], "of the kind Transpose"),
        ([helper.make_node("Conv", ["h", "g"], ["r"], group=2)], "in groups"),
        ([helper.make_node("Relu", ["h"], ["r"]), helper.make_node("Conv", ["h", "w"], ["y2"])], "leave the graph"),
        (
            [helper.make_node("Conv", ["h", "w"], ["s"], name="w"), helper.make_node("Add", ["s", "h"], ["r"])],
            "adds to",
        ),
        ([helper.make_node("Mul", ["h", "x"], ["r"])], "not known"),
        ([helper.make_node("Mul", ["h", "map"], ["r"])], "not one number for each"),
    ],
)
def test_what_is_tied_to_more_stays_and_is_named(taken: Taken, nodes: list[Node], why: str) -> None:
    weights: dict[str, Any] = {
        "a": numbers(16, 1, 1, 1),
        "g": numbers(16, 8, 1, 1),
        "w": numbers(16, 16, 1, 1),
        "map": numbers(6, 6),
        "c": numbers(4, 32 if nodes[0].op_type == "Concat" else 16, 1, 1),
    }
    whole = [
        helper.make_node("Conv", ["x", "a"], ["h"], name="first"),
        *nodes,
        helper.make_node("Conv", ["r", "c"], ["y"], name="second"),
    ]
    used = {name for node in whole for name in node.input}
    model = onnx.load_from_string(
        model_of(whole, {name: one for name, one in weights.items() if name in used}, ("n", 1, 6, 6))
    )
    if nodes[-1].output[0] == "y2":
        model.graph.output.append(helper.make_tensor_value_info("h", onnx.TensorProto.FLOAT, None))
    with pytest.raises(CompressionError, match=f"nothing of the kind.*{why}"):
        taken(PruneChannels(), model.SerializeToString(), [{"x": numbers(1, 1, 6, 6)}])


def test_what_stays_is_a_multiple_and_never_nothing(taken: Taken) -> None:
    nodes = [
        helper.make_node("Conv", ["x", "a"], ["h"], name="first"),
        helper.make_node("Relu", ["h"], ["r"]),
        helper.make_node("Conv", ["r", "c"], ["y"], name="second"),
    ]
    model = model_of(nodes, {"a": numbers(32, 3, 1, 1), "c": numbers(8, 32, 1, 1)}, ("n", 3, 8, 8))
    for keep, multiple, width in ((0.75, 10, 20), (0.75, 1, 24), (0.01, 8, 8), (1.0, 8, 32)):
        pruned, _ = taken(PruneChannels(keep=keep, multiple=multiple), model, batches(2))
        assert shapes(pruned)["c"] == (8, width, 1, 1)
