"""The error by layer: it shows the layer where the error enters, and what comes after it."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

from tests.unit.toolkit.compress.conftest import Gated
from tests.unit.toolkit.compress.steps.graphs import model_of, numbers
from toolkit.compress.calibration import Calibration
from toolkit.compress.quiet import quiet
from toolkit.compress.results import LayerError
from toolkit.compress.steps.weight_bits import WeightBits

with quiet():
    import onnx
    from onnx import helper

    from toolkit.compress.diagnosis import BEST, layer_errors

WEIGHTS = {name: numbers(32, 32) for name in ("a", "b", "c")} | {"bias": numbers(32)}
NODES = [
    helper.make_node("MatMul", ["x", "a"], ["u"], name="first"),
    helper.make_node("Add", ["u", "bias"], ["v"]),
    helper.make_node("MatMul", ["v", "b"], ["w"], name="second"),
    helper.make_node("MatMul", ["w", "c"], ["y"], name="third"),
]
MODEL = model_of(NODES, WEIGHTS, ["n", 32])


def errors(gated: Gated, after: bytes) -> tuple[LayerError, ...]:
    batches = [{"x": numbers(4, 32)} for _ in range(3)]
    digest = hashlib.sha256(after).hexdigest()
    found: tuple[LayerError, ...] = gated(
        digest, lambda grant: layer_errors(MODEL, after, Calibration(grant, "policy", batches))
    )
    return found


def test_the_same_model_has_no_error(gated: Gated) -> None:
    assert [(one.name, one.decibels) for one in errors(gated, MODEL)] == [
        ("first", BEST),
        ("second", BEST),
        ("third", BEST),
    ]


def test_the_layer_where_the_error_enters_is_seen(gated: Gated) -> None:
    noise = 0.1 * numbers(32, 32)
    first, second, third = errors(gated, model_of(NODES, {**WEIGHTS, "b": WEIGHTS["b"] + noise}, ["n", 32]))
    assert first.decibels == BEST
    # noise of a tenth of the weights is a hundredth of their power
    assert 17 < second.decibels < 23
    assert 17 < third.decibels < 23


def test_a_pressed_layer_is_found_again_by_the_name_of_its_result(gated: Gated) -> None:
    step = WeightBits(bits=4, exclude=("first", "third"))
    digest = hashlib.sha256(MODEL).hexdigest()
    after: bytes = gated(digest, lambda grant: step.apply(MODEL, Calibration(grant, "policy", []))[0])
    assert any(node.op_type == "MatMulNBits" for node in onnx.load_from_string(after).graph.node)
    first, second, _ = errors(gated, after)
    assert first.decibels == BEST
    assert 10 < second.decibels < 30


def test_numbers_that_are_not_finite_are_the_worst(gated: Gated) -> None:
    spoiled: dict[str, Any] = {**WEIGHTS, "b": np.full((32, 32), np.nan, np.float32)}
    assert [one.decibels for one in errors(gated, model_of(NODES, spoiled, ["n", 32]))] == [BEST, -BEST, -BEST]


def test_what_became_narrower_is_left_out(gated: Gated) -> None:
    narrower = {"a": WEIGHTS["a"][:, :24], "bias": WEIGHTS["bias"][:24], "b": WEIGHTS["b"][:24]}
    found = errors(gated, model_of(NODES, {**WEIGHTS, **narrower}, ["n", 32]))
    assert [one.name for one in found] == ["second", "third"]
    assert all(-BEST < one.decibels < BEST for one in found)
