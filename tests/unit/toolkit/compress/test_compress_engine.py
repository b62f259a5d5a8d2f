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
from toolkit.compress import engine
from toolkit.compress.errors import CompressionError
from toolkit.compress.measure import evaluation_texts
from toolkit.compress.quiet import quiet
from toolkit.compress.recipe import INT8, Recipe
from toolkit.compress.sources import huggingface
from toolkit.compress.step import Batches, Form, StepReport

with quiet():
    import onnx

Gated = Callable[[str, Callable[[Grant], Any]], Any]


class Spoil(Struct, frozen=True, tag_field="kind", tag="spoil"):
    """Puts noise of a size on every matrix, or renames the output."""

    takes: ClassVar[Form] = "onnx-fp32"
    gives: ClassVar[Form] = "onnx-fp32"

    noise: float = 0.0
    output: str | None = None

    def apply(self, model: bytes, data: Batches) -> tuple[bytes, StepReport]:
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
        report = StepReport(kind="spoil", bytes_before=size, bytes_after=size, int8_bytes=0, float_bytes=size)
        return proto.SerializeToString(), report


def press(gated: Gated, folder: Path, recipe: Recipe, progress: Callable[[str], None] = print) -> engine.Pressed:
    source = huggingface.read(folder)
    pressed: engine.Pressed = gated(
        source.digest, lambda grant: engine.press(source, grant, "policy", recipe, progress)
    )
    return pressed


def test_a_model_is_pressed_and_measured(gated: Gated, tiny: Path) -> None:
    said: list[str] = []
    pressed = press(gated, tiny, INT8, said.append)
    assert pressed.digest == hashlib.sha256(pressed.model).hexdigest()
    assert pressed.after.size_bytes == len(pressed.model) == pressed.reports[0].bytes_after
    assert pressed.before.size_bytes == pressed.reports[0].bytes_before
    assert 0.99 < pressed.after.fidelity < pressed.before.fidelity <= 1
    assert pressed.before.fidelity > 0.999999
    assert 0 <= pressed.export_error < 1e-5
    assert [tensor.name for tensor in pressed.inputs] == ["input_ids", "attention_mask", "token_type_ids"]
    assert [tensor.shape for tensor in pressed.outputs] == [("batch", "tokens", 32)]
    assert pressed.versions.keys() >= {"torch", "transformers", "onnx", "onnxruntime"}
    assert said[-1] == "measure"
    assert "step 1 of 1: dynamic-int8" in said


def test_a_broken_result_is_never_handed_out(gated: Gated, tiny: Path) -> None:
    with pytest.raises(CompressionError, match="after spoil the fidelity is") as caught:
        press(gated, tiny, Recipe((Spoil(noise=1.0),)))
    assert caught.value.code == "not_faithful"


def test_a_result_that_is_not_finite_is_never_handed_out(gated: Gated, tiny: Path) -> None:
    with pytest.raises(CompressionError) as caught:
        press(gated, tiny, Recipe((Spoil(noise=float("nan")),)))
    assert caught.value.code == "not_faithful"


def test_a_result_with_other_outputs_is_never_handed_out(gated: Gated, tiny: Path) -> None:
    with pytest.raises(CompressionError) as caught:
        press(gated, tiny, Recipe((Spoil(output="something_else"),)))
    assert caught.value.code == "step_failed"


def test_nothing_is_loaded_without_a_grant_for_this_model(gated: Gated, tiny: Path) -> None:
    source = huggingface.read(tiny)
    said: list[str] = []
    with pytest.raises(Ungated):
        gated("another model", lambda grant: engine.press(source, grant, "policy", INT8, said.append))
    with pytest.raises(Ungated):
        gated(source.digest, lambda grant: engine.press(source, grant, "a later policy", INT8, said.append))
    with pytest.raises(Ungated):
        engine.press(source, None, "policy", INT8, said.append)  # type: ignore[arg-type]  # no grant: the test
    assert said == []


@pytest.mark.slow
def test_minilm_keeps_what_it_says(gated: Gated, minilm: Path) -> None:
    assert len(evaluation_texts()) == 64
    pressed = press(gated, minilm, INT8)
    assert pressed.export_error < 1e-4
    assert pressed.after.size_bytes < 23_000_000
    assert pressed.before.size_bytes > 90_000_000
    assert pressed.after.fidelity > 0.98
    assert pressed.after.latency_ms < pressed.before.latency_ms
