"""Recipes that destroy real models, as they are found in the wild: seen, refused with the step, and repaired."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar

import numpy as np
import pytest
from msgspec import Struct

from policies.gate import Grant
from tests.known import Known
from tests.unit.toolkit.compress.conftest import Allowing, Recording
from toolkit.compress.calibration import Calibration
from toolkit.compress.data import Data, gathered
from toolkit.compress.engine import Press
from toolkit.compress.ladder import named
from toolkit.compress.measure import evaluation_texts
from toolkit.compress.quiet import quiet
from toolkit.compress.recipe import Recipe
from toolkit.compress.step import FLOAT, QUANTISED, Form, StepReport
from toolkit.compress.weights import finished

with quiet():
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

from policies.facts import Call, Manifest
from policies.gate import gate
from policies.payload import Payload


class Feeding(CalibrationDataReader):  # type: ignore[misc]  # it has no types
    def __init__(self, data: Calibration) -> None:
        self._batches: Iterator[Any] = iter([dict(feeds) for feeds in data.feeds()])

    def get_next(self) -> Any:
        return next(self._batches, None)


class Naive(Struct, frozen=True, kw_only=True, tag_field="kind", tag="naive-static"):
    """ONNX Runtime's static quantisation as its examples call it, on the graph as it was exported."""

    takes: ClassVar[frozenset[Form]] = frozenset({FLOAT})
    gives: ClassVar[Form | None] = QUANTISED
    calibrates: ClassVar[bool] = True

    def apply(self, model: bytes, data: Calibration) -> tuple[bytes, StepReport]:
        with quiet(), TemporaryDirectory() as folder:
            before, after = Path(folder, "before.onnx"), Path(folder, "after.onnx")
            before.write_bytes(model)
            quantize_static(
                before,
                after,
                Feeding(data),
                quant_format=QuantFormat.QDQ,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
            )
            return finished("naive-static", model, onnx.load(after))


@pytest.mark.slow
def test_minilm_collapses_under_naive_static_int8_and_not_under_ours(minilm_source: Known) -> None:
    texts = evaluation_texts()
    data = Data(calibrate=gathered(texts[:24], "text"), evaluate=gathered(texts[24:], "text"))

    def work(grant: Grant) -> None:
        press = Press(minilm_source, grant, "policy", data, lambda _: None)
        naive = press.follow(Recipe((Naive(),)))
        assert naive.reports[0].fidelity is not None
        assert naive.reports[0].fidelity < 0.9, "it does not collapse any more: look at it again"
        layers = press.layers(naive.model)
        fall = next(number for number, layer in enumerate(layers) if layer.decibels < 20)
        assert all(layer.decibels >= 20 for layer in layers[:fall])
        assert fall < len(layers) - 1, "where the error enters is not where it is seen"
        ours = press.follow(named("int8-static"))
        assert ours.reports[0].fidelity is not None
        assert ours.reports[0].fidelity > 0.99
        assert np.median([layer.decibels for layer in press.layers(ours.model)]) > 15

    parent = Manifest(
        format=1, name="m", version="", digest=minilm_source.digest, task="x", licence="MIT", inputs=(), outputs=()
    )
    call = Call(id="1", at=0, actor="a", tenant="t", action="compress", model=minilm_source.digest)
    gate(Allowing(), parent, call, Payload.checked({"texts": texts}), Recording(), work)
