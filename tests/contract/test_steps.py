"""Our own steps pass the checks that those of other packages must pass; and each check finds what it is there for."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pytest
from msgspec import Struct
from msgspec.structs import replace

from tests.unit.toolkit.compress.steps.graphs import convolved, encoder, model_of, numbers, tokens
from tests.unit.toolkit.compress.steps.spelling import made
from toolkit.compress.calibration import Calibration, Texts
from toolkit.compress.errors import CompressionError
from toolkit.compress.kinds import OWN
from toolkit.compress.quiet import quiet
from toolkit.compress.step import FLOAT, Form, StepReport
from toolkit.testing import StepFault, step_checks

with quiet():
    import onnx
    from onnx import helper

    from toolkit.compress.serialise import serialise
    from toolkit.compress.weights import finished, opened

NODES = [
    helper.make_node("Cast", ["x"], ["ids"], to=onnx.TensorProto.INT64),
    helper.make_node("Gather", ["table", "ids"], ["rows"], name="look-up"),
    helper.make_node("MatMul", ["rows", "a"], ["p"], name="first"),
    helper.make_node("Add", ["p", "bias"], ["q"]),
    helper.make_node("Relu", ["q"], ["r"]),
    helper.make_node("MatMul", ["r", "b"], ["y"], name="second"),
]
WEIGHTS = {"table": numbers(400, 32), "a": numbers(32, 64), "bias": numbers(64), "b": numbers(64, 32)}
BARE = onnx.load_from_string(model_of(NODES, WEIGHTS, ["n"]))
BARE.graph.output[0].type.CopyFrom(helper.make_tensor_type_proto(onnx.TensorProto.FLOAT, ["n", 32]))
MODEL = serialise(BARE)
DEEP = {"drop-layers", "prune-heads"}  # what works on an encoder only
BATCHES = [{"x": np.arange(start, start + 50).astype(np.float32)} for start in (0, 100, 200, 300)]


@pytest.mark.parametrize("kind", sorted(OWN))
def test_our_own_steps_keep_to_the_contract(kind: str) -> None:
    model, batches = (encoder(), tokens(20)) if kind in DEEP else (MODEL, BATCHES)
    if kind == "slice":
        model, batches = encoder(before=True), tokens(20)
    if kind == "prune-channels":
        model, batches = convolved(), [{"x": numbers(2, 3, 8, 8)} for _ in range(8)]
    texts: Texts | None = None
    labels: tuple[str, ...] = ()
    if kind == "finetune":
        model, batches = convolved(), [{"x": numbers(1, 3, 8, 8)} for _ in range(6)]
        labels = tuple("edcbad")
    if kind == "trim-vocabulary":
        model, batches, texts = encoder(), tokens(20), made("BPE")
    step_checks(OWN[kind](), model, batches, texts, labels, tuple("abcde"))


class Honest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="honest"):
    """A step that does one thing wrong, or nothing."""

    takes: ClassVar[frozenset[Form]] = frozenset({FLOAT})
    gives: ClassVar[Form | None] = None
    calibrates: ClassVar[bool] = False

    wrong: str = ""

    def apply(self, model: bytes, data: Calibration) -> tuple[bytes, StepReport]:
        if self.wrong == "takes anything" and model != MODEL:
            return model, StepReport(kind="honest", bytes_before=0, bytes_after=0, weights={})
        try:
            proto = opened(model, "honest")
        except CompressionError as error:
            raise (KeyError if self.wrong == "another error" else CompressionError)(error.code, str(error)) from None
        if self.wrong == "output":
            proto.graph.node[-1].output[0] = proto.graph.output[0].name = "z"
        if self.wrong == "chance":
            proto.graph.name = str(np.random.default_rng().integers(2**62))
        after, report = finished("honest", model, proto)
        if self.wrong == "notes":
            proto.doc_string = "made by me"
            after = proto.SerializeToString()
            report = replace(report, bytes_after=len(after))
        lies: dict[str, dict[str, Any]] = {
            "kind": {"kind": "other"},
            "sizes": {"bytes_after": 1},
            "weights": {"weights": {"int8": 1}},
        }
        return after, replace(report, **lies.get(self.wrong, {}))


def test_a_step_that_does_nothing_passes() -> None:
    step_checks(Honest(), MODEL)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("output", "takes or gives something else"),
        ("chance", "other bytes the second time"),
        ("notes", "depends on more than the model"),
        ("kind", "is called 'other'"),
        ("sizes", "the report says"),
        ("weights", "not true to the weights"),
        ("takes anything", "a broken model was taken"),
    ],
)
def test_what_is_wrong_is_found(wrong: str, said: str) -> None:
    with pytest.raises(StepFault, match=said):
        step_checks(Honest(wrong=wrong), MODEL)


def test_another_error_for_a_broken_model_is_not_swallowed() -> None:
    with pytest.raises(KeyError):
        step_checks(Honest(wrong="another error"), MODEL)


def test_a_step_that_is_no_struct_is_found() -> None:
    class Plain:
        takes = frozenset({FLOAT})

    with pytest.raises(StepFault, match="frozen msgspec Struct"):
        step_checks(Plain(), MODEL)  # type: ignore[arg-type]  # that it is none is the test
