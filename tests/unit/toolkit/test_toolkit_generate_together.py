"""Several who ask one model at once: each gets what they would get alone, by fewer runs, and with what was kept."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.commands import within
from tests.unit.toolkit.test_toolkit_generate import place  # noqa: F401 - a fixture: the same bundle
from toolkit.box import Box, Context
from toolkit.bundle import Bundle
from toolkit.generating import Clock, GenerationStopped
from toolkit.model import Model, load
from toolkit.plan import Plan, planned
from toolkit.runtime.sampling import Sampling
from toolkit.runtime.session import Session
from toolkit.runtime.slots import Slots

PURPOSE = Context(purpose="search")
PROMPTS = ("the hen", "a thread 12", "where then", "the the the the", "12 hens", "and")
LONG = "the hen and the thread " * 12  # a part of a prompt, and more


@pytest.fixture
def box(place: Path) -> Iterator[Box]:  # noqa: F811 - the fixture
    box = Box(place / "sealpress.toml")
    with closing(box.journal):
        yield box


@pytest.fixture
def bundle(box: Box) -> Bundle:
    return Bundle.read(box.folder / "tiny.bundle", box.trusted())


@pytest.fixture
def model(box: Box, bundle: Bundle) -> Model:
    return Model(bundle, box, planned(bundle, box, 2))


def answer(model: Model, place_of: int) -> tuple[str, dict[str, int]]:
    how: dict[str, Any] = {"max_tokens": 24, "temperature": 1.0, "seed": place_of, "purpose": "search"}
    said = model.generate(PROMPTS[place_of], **how)
    return said.text, dict(said.usage)


def test_answers_at_once_are_those_that_each_is_alone(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    alone = [answer(model, number) for number in range(len(PROMPTS))]
    runs: list[int] = []
    real = Slots.run

    def run(self: Slots, first: int, ids: Any, *arguments: Any) -> Any:
        runs.append(len(ids))
        return real(self, first, ids, *arguments)

    monkeypatch.setattr(Slots, "run", run)
    with ThreadPoolExecutor(len(PROMPTS)) as threads:
        together = list(threads.map(lambda number: answer(model, number), range(len(PROMPTS))))
    assert together == alone
    assert max(runs) > 1
    assert len(runs) < sum(usage["answer_tokens"] for _, usage in alone)


def test_embedded_and_planned_anew_give_the_same_text(
    model: Model,
    box: Box,
    place: Path,  # noqa: F811 - the fixture
) -> None:
    expected = answer(model, 0)
    box.journal.close()
    loaded = load(place / "tiny.bundle", place / "sealpress.toml")
    with closing(loaded._box.journal):
        assert (loaded.plan.rows, loaded.plan.least) == (model.plan.rows, model.plan.least)
        assert answer(loaded, 0) == expected


def test_how_a_prompt_begins_is_not_run_again(
    model: Model,
    place: Path,  # noqa: F811 - the fixture
) -> None:
    first = model.generate(LONG, purpose="search", max_tokens=4)
    again = model.generate(LONG, purpose="search", max_tokens=4)
    assert (first.text, "cached_tokens" in first.usage) == (again.text, False)
    assert again.usage["cached_tokens"] == 128
    assert {**again.usage, "cached_tokens": 0} == {**first.usage, "cached_tokens": 0}
    read = within(place, "journal", "read", "--auditor-key", "../box-auditor/auditor.key", "--json")
    records = [json.dumps(one) for one in json.loads(read.stdout)["records"]]
    assert ['"cached_tokens": 128' in one for one in records if again.call in one][-1]
    assert not any("cached_tokens" in one for one in records if first.call in one)


def test_a_call_with_a_subject_leaves_nothing_behind(model: Model) -> None:
    asked: dict[str, Any] = {"purpose": "search", "basis": "contract", "max_tokens": 2}
    for _ in range(2):
        assert "cached_tokens" not in model.generate(LONG, subject="a patient", **asked).usage
    assert "cached_tokens" not in model.generate(LONG, **asked).usage
    assert model.generate(LONG, **asked).usage["cached_tokens"] == 128


def test_one_that_is_stopped_or_left_makes_room(model: Model) -> None:
    batching = model._lane.session._batching
    assert batching is not None
    streams = [model.stream(prompt, Sampling.checked(max_tokens=30, seed=1), PURPOSE) for prompt in PROMPTS]
    for stream in streams:
        next(stream)
    assert len(batching._windows) == 2  # four rows, and two more
    streams[0].stop()
    with pytest.raises(GenerationStopped):
        next(streams[0])
    for stream in streams[1:]:
        stream.close()
    batching.post(lambda: None).result(timeout=20)
    assert not batching._windows


def test_what_other_threads_take_counts(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[float] = []
    real = Clock.spent

    def spent(self: Clock, seconds: float) -> None:
        told.append(seconds)
        real(self, seconds)

    monkeypatch.setattr(Clock, "spent", spent)
    _, usage = answer(model, 0)
    assert len(told) == usage["answer_tokens"]  # the prompt, and each token but the last
    clock = Clock()
    clock.spent(0.5)
    assert clock.seconds == 0.5


def test_how_answers_are_made_together_is_tried_under_the_gate_and_kept(
    box: Box, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    actions: list[str] = []
    real = box.call

    def call(action: Any, *arguments: Any, **options: Any) -> Any:
        actions.append(action)
        return real(action, *arguments, **options)

    monkeypatch.setattr(box, "call", call)
    for path in (box.folder / "state" / "plans").glob("*"):
        path.unlink()
    found = planned(bundle, box, 2)
    assert found == Plan(threads=2, rows=4, least=found.least, alike=True)
    assert planned(bundle, box, 2) == found
    assert actions == ["measure"]


def test_where_others_change_an_answer_each_is_run_by_itself(
    box: Box, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Session, "alike", lambda *_: None)
    found = planned(bundle, box, 3)
    assert found == Plan(threads=3, alike=False)
    model = Model(bundle, box, found)
    with ThreadPoolExecutor(3) as threads:
        together = list(threads.map(lambda number: answer(model, number), range(3)))
    assert together == [answer(model, number) for number in range(3)]
    assert model.generate(LONG, purpose="search", max_tokens=2).usage["prompt_tokens"] > 128
    assert model.generate(LONG, purpose="search", max_tokens=2).usage["cached_tokens"] == 128


def test_a_box_may_run_each_answer_by_itself(
    place: Path,  # noqa: F811 - the fixture
    tmp_path: Path,
    model: Model,
) -> None:
    expected = answer(model, 1)
    model._box.journal.close()
    settings = shutil.copytree(place, tmp_path / "box") / "sealpress.toml"
    settings.write_text(settings.read_text("utf-8") + "\n[generate]\nrows = 1\n", "utf-8")
    loaded = load(settings.with_name("tiny.bundle"), settings)
    with closing(loaded._box.journal):
        assert loaded.plan == Plan(threads=os.cpu_count() or 1)
        assert loaded._lane.session._batching is None
        text, usage = answer(loaded, 1)
        assert usage == expected[1]
        assert model.plan.least == 2 or text == expected[0]
