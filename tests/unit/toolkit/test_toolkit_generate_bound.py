"""Answers that keep to a schema, and answers that were tried ahead: through the gate, whole, and on record."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from policies.errors import Denied
from tests.commands import within
from tests.conftest import Shared
from tests.decoders import tiny_gguf
from toolkit.box import Box, Context
from toolkit.bundle import Bundle
from toolkit.generating import GenerationStopped
from toolkit.model import Model, load
from toolkit.plan import Plan, planned
from toolkit.runtime.cache import Cache
from toolkit.runtime.sampling import GenerationError, Sampling
from toolkit.runtime.session import Session
from toolkit.runtime.slots import Slots

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
def another(place: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the box, made before anybody has it open."""
    return Path(shutil.copytree(place, tmp_path_factory.mktemp("another") / "box"))


@pytest.fixture(scope="module")
def model(place: Path, another: Path) -> Iterator[Model]:
    box = Box(place / "sealpress.toml")
    with closing(box.journal):
        bundle = Bundle.read(place / "tiny.bundle", box.trusted())
        yield Model(bundle, box, planned(bundle, box, 2, lookup=True))


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
    """Prompts that repeat; of one token, and of one behind a part of a prompt, which is taken over the next time."""
    runs: list[int] = []
    real = Slots.run

    def run(self: Slots, first: int, ids: Any, *arguments: Any) -> Any:
        runs.append(ids.shape[1])
        return real(self, first, ids, *arguments)

    monkeypatch.setattr(Slots, "run", run)

    def told(text: str, *, lookup: bool) -> tuple[Any, ...]:
        said = model.generate(text, lookup=lookup, max_tokens=60, logprobs=20, purpose="search", **how)
        return said.text, said.finish, said.logprobs, {**said.usage, "cached_tokens": 0}

    longer = next(text for count in range(400) if model.prompt_tokens(text := "a" + " b" * count) == 129)
    for text in ("the hen and the thread " * 2, "a", longer):
        alone = told(text, lookup=False)
        several = told(text, lookup=True)
        assert several == alone
    assert min(runs) == 2


def test_what_was_not_opened_for_it_tries_nothing(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(plan: Plan) -> str:
        one = Model(Bundle.read(model._box.folder / "tiny.bundle", model._box.trusted()), model._box, plan)
        with pytest.raises(GenerationError) as found:
            one.generate("the hen", lookup=True, max_tokens=2, purpose="search")
        assert found.value.code == "generation_lookup"
        assert one.generate("the hen", max_tokens=2, purpose="search").finish == "length"
        return str(found.value)

    bundle = Bundle.read(model._box.folder / "tiny.bundle", model._box.trusted())
    without = planned(bundle, model._box, 2)
    assert (without.lookup, model.plan.lookup, model.plan.rows) == (None, True, 1)
    assert "opened without" in refused(without)
    # with as many cores there is no plan yet
    monkeypatch.setattr(Session, "alike_in_runs", lambda *_: False)
    differs = planned(bundle, model._box, 3, lookup=True)
    assert differs == structs.replace(without, threads=3, lookup=False)
    assert "this host" in refused(differs)


def test_the_settings_open_a_model_for_it(another: Path, model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    how: dict[str, Any] = {"max_tokens": 30, "seed": 1, "temperature": 1.0, "purpose": "search"}
    settings = another / "sealpress.toml"
    settings.write_text(settings.read_text("utf-8") + "\n[generate]\nlookup = true\n", "utf-8")
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    opened = load(another / "tiny.bundle", settings)
    with closing(opened._box.journal):
        assert opened.plan == model.plan
        assert opened.generate("the hen", lookup=True, **how).text == model.generate("the hen", **how).text
    opened = load(another / "tiny.bundle", settings, lookup=False)
    with closing(opened._box.journal):
        assert opened.plan.lookup is None


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
