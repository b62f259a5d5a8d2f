"""A model that generates, from a file to a bundle to an answer: through the gate, and on record however it ends."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

import sealpress
from compliance.journal.errors import JournalError
from policies.errors import Denied
from policies.payload import InputError
from tests.commands import within
from tests.conftest import Shared
from tests.decoders import CONTEXT, decoder_box
from toolkit.box import Box, Context
from toolkit.bundle import Bundle
from toolkit.generating import GenerationStopped
from toolkit.model import Model
from toolkit.plan import planned
from toolkit.runtime.sampling import GenerationError, Sampling
from toolkit.runtime.session import ModelError

PURPOSE = Context(purpose="search")
LONG: dict[str, Any] = {"max_tokens": 40, "temperature": 1.0, "seed": 5}


@pytest.fixture(scope="module")
def place(shared: Shared) -> Path:
    """A box with tiny.bundle in it."""
    return decoder_box(shared)


@pytest.fixture(scope="module")
def model(place: Path) -> Iterator[Model]:
    box = Box(place / "sealpress.toml")
    with closing(box.journal):
        yield Model(Bundle.read(place / "tiny.bundle", box.trusted()), box)


def test_a_model_that_a_grant_opened_generates_under_that_grant_and_no_further(place: Path, tmp_path: Path) -> None:
    box = shutil.copytree(place, tmp_path / "box")
    settings = box / "sealpress.toml"
    settings.write_text(settings.read_text("utf-8").replace('"licence"]', '"licence", "grants"]'), "utf-8")

    def run(*arguments: str) -> str:
        done = within(box, *arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    run("grant", "key", "../issuer.key")
    run("trust", "add", "../issuer.key.pub", "--name", "issuer")
    here = json.loads(run("grant", "show", "--json"))["box"]
    to = ("--holder", "ward 3", "--box", here, "--model", "tiny*", "--calls", "1", "--ends", "2100-01-01")
    run(
        "grant",
        "issue",
        "--key",
        "../issuer.key",
        "--issuer",
        "maker",
        *to,
        "--sealing-key",
        "keys/sealing.pub",
        "--out",
        "g",
    )
    run("seal", "tiny.bundle", "--to", "g", "--out", "tiny.sealed")
    run("grant", "import", "g")
    opened = sealpress.load(box / "tiny.sealed", settings)
    with opened.stream("the hen", Sampling.checked(**LONG), PURPOSE) as stream:
        assert len(list(stream)) == 40
    with pytest.raises(Denied) as refused:
        opened.stream("the hen", Sampling.checked(**LONG), PURPOSE)
    rules = [one.rule for one in refused.value.findings if not one.ok]  # type: ignore[attr-defined]  # of Any
    assert rules == ["grant.left"]


def records(model: Model, place: Path) -> list[dict[str, Any]]:
    """What the auditor reads, of the calls alone."""
    read = within(place, "journal", "read", "--auditor-key", "../box-auditor/auditor.key", "--json")
    assert read.returncode == 0, read.stderr
    lines = [json.loads(line) for line in read.stdout.splitlines()]
    return lines[0] if len(lines) == 1 and isinstance(lines[0], list) else lines


def of(call: str, found: list[dict[str, Any]]) -> str:
    """Everything that stands about a call, as text."""
    return json.dumps([one for one in found if call in json.dumps(one)])


def test_what_was_pressed_says_what_it_is(model: Model, place: Path) -> None:
    bundle = Bundle.read(place / "tiny.bundle", Box(place / "sealpress.toml").trusted())
    manifest, measured = bundle.manifest, bundle.measurements
    assert (manifest.task, manifest.name, manifest.licence) == ("generate", "tiny-w8-t8", "Apache-2.0")
    assert manifest.generation
    assert (manifest.generation.context, manifest.generation.rounded) == (CONTEXT, "Q8_0")
    assert manifest.generation.chat is not None
    assert "Q8_0" in measured.method["source"]
    assert measured.after.fidelity > 0.95
    assert measured.after.size_bytes < measured.before.size_bytes / 2
    before, after = measured.before.task, measured.after.task
    assert before
    assert after
    assert after["perplexity"] == pytest.approx(before["perplexity"], rel=0.05)


def test_the_same_seed_gives_the_same_text_whole_and_piece_by_piece(model: Model) -> None:
    whole = model.generate("the hen", purpose="search", **LONG)
    with model.stream("the hen", Sampling.checked(**LONG), PURPOSE) as stream:
        chunks = list(stream)
    assert "".join(chunk.text for chunk in chunks) == whole.text == stream.text
    assert (stream.seed, stream.finish) == (whole.seed, whole.finish) == (5, "length")
    assert [chunk.finish for chunk in chunks[:-1]] == [None] * 39
    assert whole.usage == stream.usage == {"tokens": 44, "prompt_tokens": 4, "answer_tokens": 40}
    assert model.generate("the hen", purpose="search", **{**LONG, "seed": 6}).text != whole.text


def test_tokens_one_by_one_are_those_of_the_whole_text_at_once(model: Model) -> None:
    """The cache holds what it should: each token is the most probable one for the text before it, run anew."""
    said = model.generate("the hen", purpose="search", max_tokens=12, logprobs=1)
    text = "the hen"
    for one in said.logprobs[:4]:
        logits = model.ask({"texts": [text]}, PURPOSE).outputs["logits"]
        assert logits.shape[0] == 1
        chosen = int(logits[0].argmax())
        assert model._generator is not None
        assert model._generator.prompter.tokenizer.decode([chosen], skip_special_tokens=False) == one.token
        if not one.token.isascii():
            break  # a piece of a character cannot be written into the next prompt
        text += one.token


def test_a_prompt_of_many_parts_is_the_same_as_in_one(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "the hen and the thread " * 8
    once = model.generate(text, purpose="search", max_tokens=8)
    monkeypatch.setattr("toolkit.runtime.generation.PREFILL", 7)
    assert model.generate(text, purpose="search", max_tokens=8).text == once.text


def test_a_stop_string_ends_an_answer(model: Model) -> None:
    whole = model.generate("the hen", purpose="search", **LONG).text
    stop = whole[8:11]
    cut = model.generate("the hen", purpose="search", **LONG, stop=stop)
    assert cut.finish == "stop"
    assert cut.text == whole[: whole.find(stop)]
    assert cut.usage["answer_tokens"] < 40


def test_a_chat_is_on_record_with_its_answer(model: Model, place: Path) -> None:
    turns = [{"role": "system", "content": "Speak."}, {"role": "user", "content": "the hen"}]
    answer = model.generate(turns, purpose="search", max_tokens=5)
    found = of(answer.call, records(model, place))
    assert "the hen" in found
    assert answer.written
    read = within(place, "journal", "read", "--auditor-key", "../box-auditor/auditor.key", "--json")
    told = json.loads(read.stdout)["records"]
    said = [one for one in told if one.get("metadata", {}).get("kind") == "answer"]
    assert said[-1]["payload"]["value"] == {"text": answer.text, "mark": answer.mark}
    # metadata is what evidence shows to a stranger
    assert set(said[-1]["metadata"]["data"]) == {"finish", "seed"}


def test_a_refusal_comes_before_anything_runs(model: Model) -> None:
    with pytest.raises(Denied):
        model.stream("the hen", Sampling.checked(), Context())


def test_a_stream_that_is_stopped_is_recorded_as_stopped(model: Model, place: Path) -> None:
    stream = model.stream("the hen", Sampling.checked(**LONG), PURPOSE)
    next(stream)
    Thread(target=stream.stop).run()
    with pytest.raises(GenerationStopped):
        next(stream)
    assert stream.usage["answer_tokens"] == 1
    assert list(stream) == []
    assert "generation_stopped" in of(stream.call, records(model, place))


def test_a_stream_that_is_left_or_forgotten_is_recorded_as_stopped(model: Model, place: Path) -> None:
    with model.stream("the hen", Sampling.checked(**LONG), PURPOSE) as left:
        next(left)
    forgotten = model.stream("the hen", Sampling.checked(**LONG), PURPOSE)
    call = forgotten.call
    del forgotten
    found = records(model, place)
    for one in (left.call, call):
        assert "generation_stopped" in of(one, found)


def test_what_does_not_fit_into_the_context_is_refused_before_it_runs(model: Model, place: Path) -> None:
    with pytest.raises(GenerationError) as refused:
        model.generate("the hen", purpose="search", max_tokens=CONTEXT)
    assert refused.value.code == "generation_context"
    assert model.generate("the hen", purpose="search", max_tokens=CONTEXT - 4).usage["prompt_tokens"] == 4
    wrongs: list[dict[str, Any]] = [{"max_tokens": 0}, {"temperature": -1.0}, {"stop": [""]}]
    for wrong in wrongs:
        with pytest.raises(GenerationError):
            model.generate("the hen", purpose="search", **wrong)
    with pytest.raises(InputError):
        model.generate([{"role": "user", "content": "a"}] * 2, purpose="search")


def test_an_answer_whose_record_cannot_be_written_is_none(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise JournalError("journal_write", "no room")

    monkeypatch.setattr(model._box.journal, "noted", full)
    with pytest.raises(JournalError):
        model.generate("the hen", purpose="search", max_tokens=2)


def test_a_model_answers_what_it_is_for(model: Model, place: Path) -> None:
    with pytest.raises(ModelError) as refused:
        model.embed(["the hen"], purpose="search")
    assert refused.value.code == "model_task"
    box = Box(place / "sealpress.toml")
    plan = planned(Bundle.read(place / "tiny.bundle", box.trusted()), box, 2)
    assert (plan.lanes, plan.threads) == (1, 2)


def test_the_command_talks(place: Path) -> None:
    asked = ("chat", "tiny.bundle", "--text", "the hen", "--text", "and", "--max-tokens", "4", "--purpose", "search")
    told = within(place, *asked, "--json")
    assert told.returncode == 0, told.stderr
    answers = json.loads(told.stdout)["answers"]
    assert [one["usage"]["answer_tokens"] for one in answers] == [4, 4]
    assert answers[1]["usage"]["prompt_tokens"] > answers[0]["usage"]["prompt_tokens"]
    aloud = within(place, *asked)
    assert answers[0]["text"] in aloud.stdout
    assert within(place, *asked[:-2]).returncode == 1  # no purpose: refused
    assert within(place, *asked, "--max-tokens", "0").returncode == 2


def test_the_front_door_loads_it(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    loaded = sealpress.load("tiny.bundle")
    assert loaded.generate("the hen", purpose="search", max_tokens=2).usage["answer_tokens"] <= 2
    loaded._box.journal.close()
