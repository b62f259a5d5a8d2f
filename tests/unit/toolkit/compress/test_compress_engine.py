"""The whole press: under a grant, measured, and refused where the result is broken."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from msgspec import Struct

from policies.errors import Ungated
from policies.gate import Grant
from tests.known import Known
from toolkit.compress import engine
from toolkit.compress.calibration import Calibration
from toolkit.compress.data import NONE, Data, gathered
from toolkit.compress.errors import CompressionError
from toolkit.compress.ladder import named
from toolkit.compress.measure import evaluation_texts
from toolkit.compress.quiet import quiet
from toolkit.compress.recipe import Recipe
from toolkit.compress.results import Result
from toolkit.compress.source import Source
from toolkit.compress.sources import huggingface
from toolkit.compress.step import FLOAT, Form, StepReport
from toolkit.compress.versions import versions

with quiet():
    import onnx

Gated = Callable[[str, Callable[[Grant], Any]], Any]


class Spoil(Struct, frozen=True, tag_field="kind", tag="spoil"):
    """Puts noise of a size on every matrix, or renames the output."""

    takes: ClassVar[frozenset[Form]] = frozenset({FLOAT})
    gives: ClassVar[Form | None] = None
    calibrates: ClassVar[bool] = False

    noise: float = 0.0
    output: str | None = None

    def apply(self, model: bytes, data: Calibration) -> tuple[bytes, StepReport]:
        proto = onnx.load_from_string(model)
        random = np.random.default_rng(0)
        for tensor in proto.graph.initializer:
            if tensor.data_type == onnx.TensorProto.FLOAT and len(tensor.dims) == 2:
                array = onnx.numpy_helper.to_array(tensor)
                spoiled = array + (self.noise * random.normal(size=array.shape)).astype(np.float32)
                tensor.CopyFrom(onnx.numpy_helper.from_array(spoiled, tensor.name))
        if self.output:
            proto.graph.node.add(op_type="Identity", input=[proto.graph.output[0].name], output=[self.output])
            proto.graph.output[0].name = self.output
        size = len(model)
        report = StepReport(kind="spoil", bytes_before=size, bytes_after=size, weights={"float32": size})
        return proto.SerializeToString(), report


INT8 = named("int8")
DATA = Data(calibrate=NONE, evaluate=gathered(evaluation_texts()[:8], "text"))


def pressed(gated: Gated, source: Source, work: Callable[[engine.Press], Any], data: Data = DATA) -> Any:
    return gated(source.digest, lambda grant: work(engine.Press(source, grant, "policy", data, print)))


def low(gated: Gated, source: Source, *steps: Spoil) -> float:
    def work(press: engine.Press) -> float:
        return press.result(press.follow(Recipe(steps)).model).fidelity.score.low

    found: float = pressed(gated, source, work)
    return found


def test_a_model_is_pressed_and_measured(gated: Gated, tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def work(press: engine.Press) -> None:
        made = press.follow(INT8)
        before, after = press.before, press.result(made.model)
        [report] = made.reports
        assert made.digest == hashlib.sha256(made.model).hexdigest()
        assert after.size_bytes == len(made.model) == report.bytes_after
        assert before.size_bytes == report.bytes_before == len(press.exported)
        assert report.fidelity == after.fidelity.score.low
        assert 0.99 < after.fidelity.score.low < before.fidelity.score.low <= 1
        assert before.fidelity.score.low > 0.999999
        assert after.transport_bytes < after.size_bytes
        assert 0 <= press.export_error < 1e-5
        assert [tensor.name for tensor in press.float.session.inputs] == [
            "input_ids",
            "attention_mask",
            "token_type_ids",
        ]
        assert sum(size.size_bytes for size in press.sizes(made.model)) == sum(report.weights.values())
        assert [example.number for example in press.worst(after.fidelity)] == list(after.fidelity.worst)

    pressed(gated, huggingface.read(tiny), work)
    said = capsys.readouterr().out
    assert said.endswith("measure\n")
    assert "step 1 of 1: dynamic-int8" in said
    assert versions().keys() >= {"torch", "transformers", "onnx", "onnxruntime"}


def test_steps_that_two_recipes_begin_with_are_taken_once(
    gated: Gated, known: Known, capsys: pytest.CaptureFixture[str]
) -> None:
    def work(press: engine.Press) -> None:
        first = press.follow(Recipe((Spoil(noise=0.001), Spoil(noise=0.002))))
        capsys.readouterr()
        second = press.follow(Recipe((Spoil(noise=0.001), Spoil(noise=0.003))))
        assert capsys.readouterr().out == "step 2 of 2: spoil\n"
        again = press.follow(Recipe((Spoil(noise=0.001), Spoil(noise=0.002))))
        assert again.model == first.model != second.model
        assert press.follow(Recipe((Spoil(noise=0.001),))).model not in (first.model, second.model)

    pressed(gated, known, work)


def test_noise_is_seen(gated: Gated, known: Known) -> None:
    assert low(gated, known, Spoil(noise=1.0)) < 0.9
    assert low(gated, known, Spoil(noise=0.001), Spoil(noise=0.002)) > 0.98


def test_a_result_that_is_not_finite_is_not_faithful(gated: Gated, known: Known) -> None:
    assert not low(gated, known, Spoil(noise=float("nan"))) >= 0


def test_a_result_with_other_outputs_is_no_result(gated: Gated, known: Known) -> None:
    with pytest.raises(CompressionError) as caught:
        low(gated, known, Spoil(output="something_else"))
    assert caught.value.code == "step_failed"


def test_a_step_that_calibrates_has_something_to_learn_from(gated: Gated, known: Known) -> None:
    recipe = named("int8-static")
    with pytest.raises(CompressionError) as caught:
        pressed(gated, known, lambda press: press.follow(recipe))
    assert caught.value.code == "calibration_missing"

    def work(press: engine.Press) -> Result:
        return press.result(press.follow(recipe).model)

    texts = gathered(evaluation_texts()[8:16], "text")
    assert pressed(gated, known, work, Data(calibrate=texts, evaluate=DATA.evaluate)).fidelity.score.low > 0.99


def test_nothing_is_loaded_without_a_grant_for_this_model(gated: Gated, tiny: Path) -> None:
    source = huggingface.read(tiny)
    said: list[str] = []
    with pytest.raises(Ungated):
        gated("another model", lambda grant: engine.Press(source, grant, "policy", DATA, said.append))
    with pytest.raises(Ungated):
        gated(source.digest, lambda grant: engine.Press(source, grant, "a later policy", DATA, said.append))
    with pytest.raises(Ungated):
        engine.Press(source, None, "policy", DATA, said.append)  # type: ignore[arg-type]  # no grant: the test
    assert said == []


@pytest.mark.slow
def test_minilm_keeps_what_it_says(gated: Gated, minilm_source: Known) -> None:
    assert len(evaluation_texts()) == 64

    def work(press: engine.Press) -> None:
        result = press.result(press.follow(INT8).model)
        assert press.export_error < 1e-4
        assert result.size_bytes < 23_000_000
        assert len(press.exported) > 90_000_000
        assert result.fidelity.score.low > 0.98
        assert min(result.latency_ms, result.latency_before_ms) > 0

    pressed(gated, minilm_source, work, Data(calibrate=NONE, evaluate=gathered(evaluation_texts(), "text")))
