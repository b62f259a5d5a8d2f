"""What a person knows of the items reaches the steps that learn it, through the whole press."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from policies.gate import Grant
from tests.decoders import tiny_gguf
from tests.known import Known
from toolkit.compress.data import Data, Items, gathered, read_items
from toolkit.compress.engine import Press
from toolkit.compress.quiet import quiet
from toolkit.compress.recipe import Recipe
from toolkit.compress.source import Source
from toolkit.compress.step import StepReport
from toolkit.compress.steps.distil import Distil
from toolkit.compress.steps.finetune import Finetune
from toolkit.compress.steps.qat import Qat
from toolkit.compress.steps.weight_bits import WeightBits

with quiet():
    from toolkit.compress.sources import gguf_file
    from toolkit.train.errors import TrainingError

Gated = Callable[[str, Callable[[Grant], Any]], Any]


def followed(gated: Gated, source: Source, learn: Items, *recipes: Recipe) -> list[StepReport]:
    data = Data(calibrate=learn, evaluate=gathered(["One to measure on.", "Another."], "text"))

    def work(grant: Grant) -> list[StepReport]:
        press = Press(source, grant, "policy", data, lambda _: None)
        return [press.follow(recipe).reports[-1] for recipe in recipes]

    found: list[StepReport] = gated(source.digest, work)
    return found


def lines(path: Path, *known: dict[str, str]) -> Items:
    path.write_text("\n".join(map(json.dumps, known)))
    return read_items(path, "text")


def test_a_decoder_learns_answers_from_a_file_and_from_its_parent(gated: Gated, tmp_path: Path) -> None:
    path = tmp_path / "tiny.gguf"
    path.write_bytes(tiny_gguf())
    pairs = lines(tmp_path / "a.jsonl", *({"text": f"Say {n}.", "answer": f"It is {n}."} for n in range(4)))
    to = WeightBits(bits=4, compute="float32")
    reports = followed(
        gated,
        gguf_file.read(path, limit=1 << 30),
        pairs,
        Recipe((Finetune(epochs=4, batch=2, rate=1e-2),)),
        Recipe((Distil(answers="greedy", tokens=4, epochs=1),)),
        Recipe((Qat(to=to, epochs=3, batch=2, rate=1e-3),)),
    )
    spent = [report.spent for report in reports]
    assert [one.steps for one in spent if one is not None] == [8, 1, 6]
    assert spent[0] is not None
    assert spent[0].after < spent[0].before
    assert spent[2] is not None
    assert spent[2].after < spent[2].before


class Labelled:
    """A source whose model tells two classes apart, as it says."""

    labels = ("cat", "dog")

    def __init__(self, source: Known) -> None:
        self._source = source

    def __getattr__(self, name: str) -> Any:
        return getattr(self._source, name)


def test_labels_of_a_file_reach_the_step_and_must_be_classes_of_the_model(
    gated: Gated, tmp_path: Path, known: Known
) -> None:
    some = [{"text": letter * n, "label": name} for n in range(3, 5) for letter, name in (("a", "cat"), ("b", "dog"))]
    source, items = Labelled(known), lines(tmp_path / "a.jsonl", *some)
    data = Data(calibrate=items, evaluate=gathered(["One to measure on.", "Another."], "text"))

    def work(grant: Grant) -> None:
        press = Press(source, grant, "policy", data, lambda _: None)
        assert press.calibration.classes == ("cat", "dog")
        assert press.calibration.labels == ("cat", "dog", "cat", "dog")
        assert press.calibration.first(3).labels == ("cat", "dog", "cat")
        # an encoder gives numbers for each token, and no class
        with pytest.raises(TrainingError, match="2 classes") as refused:
            press.follow(Recipe((Finetune(),)))
        assert refused.value.code == "train_labels"

    gated(source.digest, work)
