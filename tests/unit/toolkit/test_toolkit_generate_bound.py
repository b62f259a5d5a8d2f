"""Answers that keep to a schema, and answers that were tried ahead: through the gate, whole, and on record."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from policies.errors import Denied
from tests.commands import within
from tests.conftest import Shared
from tests.decoders import tiny_gguf
from toolkit.box import Box, Context
from toolkit.bundle import Bundle
from toolkit.generating import GenerationStopped
from toolkit.model import Model
from toolkit.runtime.cache import Cache
from toolkit.runtime.sampling import GenerationError, Sampling

PURPOSE = Context(purpose="search")
WARD = {
    "type": "object",
    "properties": {"ward": {"enum": ["north", "south"]}, "beds": {"type": "integer", "minimum": 0, "maximum": 99}},
    "required": ["ward", "beds"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def place(shared: Shared) -> Path:
    """A box with tiny.bundle in it, and records of these tests alone."""

    def make(folder: Path) -> None:
        (folder / "tiny.gguf").write_bytes(tiny_gguf())
        assert within(folder, "init", "box").returncode == 0
        done = within(folder / "box", "compress", "../tiny.gguf", "--out", "tiny.bundle")
        assert done.returncode == 0, done.stderr

    return shared.made("generating-bound", make) / "box"


@pytest.fixture(scope="module")
def model(place: Path) -> Iterator[Model]:
    box = Box(place / "sealpress.toml")
    with closing(box.journal):
        yield Model(Bundle.read(place / "tiny.bundle", box.trusted()), box)


def test_an_answer_keeps_to_its_schema(model: Model) -> None:
    for seed in range(4):
        said = model.generate("the hen", schema=WARD, temperature=1.0, seed=seed, max_tokens=200, purpose="search")
        assert said.finish == "stop"
        told = json.loads(said.text)
        assert told["ward"] in ("north", "south")
        assert 0 <= told["beds"] <= 99
    assert model.generate("the hen", regex="[0-9]{3}", max_tokens=9, purpose="search").text.isdecimal()
    assert model.generate("the hen", choice=["yes", "no"], max_tokens=9, purpose="search").text in ("yes", "no")


def test_an_answer_that_is_not_whole_says_so(model: Model) -> None:
    said = model.generate("the hen", schema=WARD, max_tokens=4, purpose="search")
    assert said.finish == "length"
    with pytest.raises(json.JSONDecodeError):
        json.loads(said.text)


def test_logarithms_of_probability_are_those_of_the_model_without_the_mask(model: Model) -> None:
    free = model.generate("the hen", max_tokens=1, logprobs=20, purpose="search").logprobs[0]
    bound = model.generate("the hen", choice=["@", "#"], max_tokens=1, logprobs=20, purpose="search").logprobs[0]
    assert bound.top == free.top
    assert bound.token in {"@", "#"}
    assert bound.logprob < free.logprob


def test_a_constraint_that_cannot_be_kept_to_is_refused_before_anything_runs(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Cache, "step", None)
    for wrong in ({"schema": {"type": "integer", "minimum": 5, "maximum": 3}}, {"regex": "(?=a)b"}):
        with pytest.raises(GenerationError) as refused:
            model.generate("the hen", max_tokens=9, purpose="search", **wrong)
        assert refused.value.code == "generation_constraint"


def test_what_a_schema_holds_is_scanned_and_on_record(model: Model, place: Path) -> None:
    with pytest.raises(Denied):  # an answer can be made to say it
        model.generate("the hen", choice=["jane.doe@example.org"], purpose="search")
    said = model.generate("the hen", choice=["the ward", "the hen"], max_tokens=20, purpose="search")
    read = within(place, "journal", "read", "--auditor-key", "../box-auditor/auditor.key", "--json")
    (asked,) = [
        one["payload"]["value"]
        for one in json.loads(read.stdout)["records"]
        if said.call in json.dumps(one) and "prompt" in json.dumps(one.get("payload"))
    ]
    assert asked["constraint"] == {"choice": ["the ward", "the hen"]}


@pytest.mark.parametrize(
    "how",
    [
        {},
        {"temperature": 1.0, "seed": 3, "repetition_penalty": 0.4},
        {"temperature": 1.0, "seed": 3, "stop": ["e", "h"]},
        {"temperature": 1.0, "seed": 4, "schema": WARD},
        {"regex": "(?:the hen ){4}[a-z]{5}"},
    ],
)
def test_what_is_tried_ahead_changes_no_text(
    model: Model, monkeypatch: pytest.MonkeyPatch, how: dict[str, Any]
) -> None:
    text = "the hen and the thread " * 2

    def told() -> tuple[Any, ...]:
        said = model.generate(text, lookup=True, max_tokens=60, logprobs=1, purpose="search", **how)
        return said.text, said.finish, said.logprobs, said.usage

    assert model._generator is not None
    tried = told()
    assert model._generator._alike is True
    monkeypatch.setattr(model._generator, "_alike", False)  # then nothing is tried
    assert told() == tried


def test_an_answer_that_is_tried_ahead_is_stopped_within_one_token(model: Model) -> None:
    how = Sampling.checked(lookup=True, max_tokens=40)
    with model.stream("the hen the hen the hen", how, PURPOSE) as stream:
        for _ in range(3):
            next(stream)
        stream.stop()
        with pytest.raises(GenerationStopped):
            next(stream)
    assert stream.usage["answer_tokens"] == 3


def test_the_command_keeps_to_a_schema(place: Path, tmp_path: Path) -> None:
    schema = tmp_path / "ward.json"
    schema.write_text(json.dumps(WARD))
    asked = ("chat", "tiny.bundle", "--text", "the hen", "--max-tokens", "120", "--purpose", "search", "--json")
    told = within(place, *asked, "--schema", str(schema), "--lookup")
    assert told.returncode == 0, told.stderr
    (answer,) = json.loads(told.stdout)["answers"]
    assert set(json.loads(answer["text"])) == {"ward", "beds"}
    regex = within(place, *asked, "--regex", "[0-9]{2}")
    assert json.loads(regex.stdout)["answers"][0]["text"].isdecimal()
    assert within(place, *asked, "--regex", "[0-9").returncode == 2
    schema.write_text("{")
    assert within(place, *asked, "--schema", str(schema)).returncode == 2
