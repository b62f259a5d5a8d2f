"""What a model that generates takes for the most likely way to go on."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.commands import within
from tests.conftest import Shared
from tests.decoders import SAID, said_box
from toolkit.compress.likelihood import SPREAD, divergence, preferred, spread

QUESTIONS = [
    {"text": "!", "choices": [SAID[:6], "newbhtl", "org,"], "answer": SAID[:6]},
    {"text": "!", "choices": ["zz", SAID[:3]], "answer": SAID[:3]},
    {"text": "!Ask", "choices": [" jim@", "@mij "], "answer": " jim@"},
    {"text": "!Ask", "choices": [" jim@", "@mij "], "answer": "@mij "},  # which the model does not say
]


@pytest.fixture(scope="module")
def box(shared: Shared) -> Path:
    return said_box(shared)


def pressed(box: Path, folder: Path, *questions: object) -> dict[str, object]:
    (folder / "asked.jsonl").write_text("\n".join(map(json.dumps, questions)))
    done = within(
        box,
        *("compress", box.parent / "said.gguf", "--recipe", "w8-t8", "--evaluate", folder / "asked.jsonl"),
        *("--budget", "fidelity>=0"),
        *("--out", folder / "said.bundle", "--json"),
    )
    found: dict[str, object] = json.loads(done.stdout)
    return found


def test_parent_and_child_answer_by_what_they_would_say(box: Path, tmp_path: Path) -> None:
    found = pressed(box, tmp_path, *QUESTIONS)
    measured = found["measurements"]
    assert isinstance(measured, dict), found
    assert [measured[which]["task"]["accuracy"] for which in ("before", "after")] == [0.75, 0.75]


def test_a_text_of_one_token_has_no_perplexity_and_is_no_fault(box: Path, tmp_path: Path) -> None:
    found = pressed(box, tmp_path, {"text": "!"})
    measured = found["measurements"]
    assert isinstance(measured, dict), found
    assert measured["after"].get("task") is None


@pytest.mark.parametrize(
    ("question", "code"),
    [
        ({"text": "!", "choices": ["a", "b"], "answer": "c"}, "data_format"),
        ({"text": "!", "choices": ["a", "b"]}, "data_format"),
        ({"text": "!", "choices": ["a"], "answer": "a"}, "data_format"),
        ({"text": "!", "choices": ["a", "a"], "answer": "a"}, "data_format"),
        ({"text": "!", "choices": ["a", " "], "answer": "a"}, "input_empty"),
        ({"text": "!", "choices": ["a", "b" * 600], "answer": "a"}, "data_format"),
    ],
)
def test_a_question_that_is_none_is_refused(box: Path, tmp_path: Path, question: object, code: str) -> None:
    assert pressed(box, tmp_path, question)["code"] == code
    assert not (tmp_path / "said.bundle").exists()


def test_a_short_way_has_no_advantage() -> None:
    assert preferred([3.0, 2.5], ["four", "ab"]) == 0
    assert preferred([3.0, 1.4], ["four", "ab"]) == 1
    assert preferred([2.0, 2.0], ["éé", "abcd"]) == 0  # of as many bytes: the first


def test_what_comes_next_is_compared_whatever_all_logits_gain() -> None:
    one = np.log(np.array([[0.5, 0.25, 0.25], [0.5, 0.25, 0.25]], np.float32))
    other = np.log(np.array([[0.25, 0.5, 0.25], [0.5, 0.25, 0.25]], np.float32))
    assert divergence(one, one + np.float32(7)) == pytest.approx(0, abs=1e-6)
    # of the first token 0.5 log 2 - 0.25 log 2, of the second none
    assert divergence(one, other) == pytest.approx(0.125 * np.log(2), rel=1e-5)
    assert divergence(one, np.full_like(one, np.nan)) == np.inf


@pytest.mark.parametrize("tokens", [1, 5, SPREAD, SPREAD + 1, 500])
def test_tokens_from_all_over_a_text_are_compared(tokens: int) -> None:
    logits = np.arange(tokens, dtype=np.float32).reshape(1, tokens, 1)
    taken = spread(logits)[:, 0]
    assert len(taken) == min(tokens, SPREAD) == len(set(taken))
    assert (taken[0], taken[-1]) == (0, tokens - 1)
    assert np.diff(taken).max(initial=0) <= tokens / (SPREAD - 1) + 1
