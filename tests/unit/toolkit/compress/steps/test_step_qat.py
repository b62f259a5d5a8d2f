"""What was rounded while it learned is, to the last digits, the graph that a step which quantises makes."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray

from tests.unit.toolkit.compress.steps.conftest import Taken
from tests.unit.toolkit.compress.steps.graphs import encoder, tokens
from toolkit.compress.calibration import Calibration
from toolkit.compress.errors import CompressionError, RecipeError
from toolkit.compress.quiet import quiet
from toolkit.compress.recipe import Recipe
from toolkit.compress.step import Form
from toolkit.compress.steps.qat import Qat
from toolkit.compress.steps.sparsify import Sparsify
from toolkit.compress.steps.static_int8 import StaticInt8
from toolkit.compress.steps.weight_bits import WeightBits

with quiet():
    import onnx
    import torch
    from onnx import helper, numpy_helper

    from toolkit.compress.layers import Graph
    from toolkit.compress.rounding import plan_of
    from toolkit.train.network import as_tensors
    from toolkit.train.student import student_of

ITEMS = tokens(16)
OTHERS = tokens(8, seed=1)
# with a last block that is not whole, and columns that are filled up
BLOCKS = [
    WeightBits(bits=8, compute="float32"),
    WeightBits(bits=4, compute="float32"),
    WeightBits(bits=4, block=16, scales="hqq", compute="float32"),
    WeightBits(bits=2, block=128, scales="minmax", compute="float32"),
    WeightBits(bits=2, block=16, scales="hqq", compute="float32"),
]
# none with which large products saturate on processors without VNNI, which the network knows nothing of
WHOLE = [
    StaticInt8(scales="seven-bits"),
    StaticInt8(scales="pairs"),
    StaticInt8(scales="seven-bits", per_channel=False),
    StaticInt8(scales="pairs", range="mse", tables=False),
]


def says(model: bytes, item: dict[str, NDArray[Any]]) -> NDArray[np.float32]:
    found: NDArray[np.float32] = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"]).run(
        None, item
    )[0]
    return found


def apart(model: bytes, right: bytes) -> float:
    pairs = [(says(model, item), says(right, item)) for item in OTHERS]
    return float(np.mean([np.linalg.norm(ours - theirs) / np.linalg.norm(theirs) for ours, theirs in pairs]))


def operators(model: bytes) -> list[tuple[str, str]]:
    return [(node.op_type, node.name) for node in onnx.load_from_string(model).graph.node]


@pytest.mark.parametrize("to", [*BLOCKS, *WHOLE], ids=repr)
def test_the_graph_gives_what_the_network_gave(taken: Taken, to: WeightBits | StaticInt8) -> None:
    model = encoder(1)
    made: list[bytes] = []

    class Moved:
        """Stands where it learned to be: some way from where it began."""

        takes: ClassVar[frozenset[Form]] = Qat.takes
        gives: ClassVar[Form | None] = Qat.gives
        calibrates: ClassVar[bool] = True

        def apply(self, model: bytes, data: Calibration) -> Any:
            plan = plan_of(to, Graph(model, "qat"), data)
            network = student_of(plan.student, plan.lesson)
            torch.manual_seed(0)
            with torch.no_grad():
                for name, parameter in network.named_parameters():
                    noise = 0.05 if name.startswith("factor") else 0.02
                    parameter.add_(noise * torch.randn(parameter.shape))
            result = plan.finished(model, network.weights())
            made.append(result[0])
            for item in OTHERS:
                given = network(as_tensors(item), network.outputs)[0].detach().numpy()
                # what is left is the order of sums
                assert np.abs(given - says(result[0], item)).max() < 1e-5
            return result

    taken(Moved(), model, ITEMS, model)
    # node for node that of the step alone
    assert operators(made[0]) == operators(taken(to, model, ITEMS)[0])


def test_what_learns_while_it_is_rounded_comes_nearer_than_what_is_only_rounded(taken: Taken) -> None:
    parent = encoder(1)
    to = WeightBits(bits=2, block=32, compute="float32")
    rounded, _ = taken(to, parent)
    learned, report = taken(Qat(to=to, epochs=6, batch=4, rate=3e-3), parent, ITEMS, parent)
    assert apart(learned, parent) < 0.8 * apart(rounded, parent)
    assert len(learned) == len(rounded)
    assert report.spent is not None
    assert report.spent.after < report.spent.before


def zeros(model: bytes) -> dict[str, NDArray[np.bool_]]:
    """Where the weights of products are zeros, as floats and in blocks of four bits around the middle."""
    graph = onnx.load_from_string(model).graph
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    found = {}
    for node in graph.node:
        attributes = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
        if node.op_type == "MatMulNBits":
            packed = constants[node.input[1]]
            both = np.stack([packed & 15, packed >> 4], axis=-1).reshape(len(packed), -1)[:, : attributes["K"]]
            found[node.name] = (both == 8).T
        elif node.op_type in ("MatMul", "MatMulIntegerToFloat") and node.input[1] in constants:
            found[node.name] = constants[node.input[1]] == 0
    return found


@pytest.mark.parametrize("to", [WeightBits(bits=4), StaticInt8()], ids=repr)
def test_what_was_pruned_two_of_four_stays_so(taken: Taken, to: WeightBits | StaticInt8) -> None:
    parent = encoder(1)
    pruned, _ = taken(Sparsify(pattern="2:4"), parent, ITEMS)
    made, _ = taken(Qat(to=to, epochs=2, rate=1e-3), pruned, ITEMS, parent)
    before, after = zeros(pruned), zeros(made)
    assert before.keys() == after.keys()
    assert all(where.mean() == 0.5 for where in before.values())
    assert all(after[name][where].all() for name, where in before.items())


def test_what_cannot_learn_while_it_is_rounded_is_refused(taken: Taken) -> None:
    blocks, whole = {"kind": "weight-bits"}, {"kind": "static-int8"}
    for to in ({**blocks, "scales": "offset"}, {**whole, "activation_bits": 16}):
        with pytest.raises(RecipeError) as refused:
            Recipe.of([{"kind": "qat", "to": to}])
        assert refused.value.code == "recipe_field"
    with pytest.raises(CompressionError):
        taken(Qat(), encoder(1), ITEMS)
