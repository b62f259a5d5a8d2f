"""The figures: the texts they are taken on, and the fidelity."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from msgspec import UNSET

from policies.gate import Grant, covers
from toolkit.compress import measure
from toolkit.compress.data import Items, gathered
from toolkit.compress.figures import MOST_SLICES, figures
from toolkit.compress.results import Fidelity, Interval, Result, Slice
from toolkit.compress.sources import huggingface
from toolkit.runtime.lane import Lane, reader_of

Gated = Callable[[str, Callable[[Grant], Any]], Any]


def test_the_texts_are_prose_of_moderate_length_and_the_same_every_time() -> None:
    texts = measure.evaluation_texts()
    assert texts == measure.evaluation_texts()
    assert 48 <= len(texts) <= 64
    assert len(set(texts)) == len(texts)
    assert all(20 <= len(text) <= 300 and text.endswith(".") and text.isascii() for text in texts)
    assert not [text for text in texts if re.search(r"[\d@_*|`<>=\[\]\\]|\(\)|::", text)]
    assert np.mean([len(text.split()) for text in texts]) > 12


def low(left: Any, right: Any) -> float:
    """The lower bound of the fidelity of embeddings."""
    items = gathered(map(str, range(len(left))), "text")
    return measure.fidelity("cosine", left, right, items).score.low


def test_the_same_embeddings_are_wholly_faithful() -> None:
    rows = np.random.default_rng(0).normal(size=(20, 8)).astype(np.float32)
    assert low(rows, rows) == pytest.approx(1)
    assert low(rows, 3 * rows) == pytest.approx(1)
    assert low(rows, -rows) == pytest.approx(-1)


def result(*slices: tuple[str, int, float]) -> Result:
    scored = tuple(Slice(name=name, items=n, score=Interval(mean=low, low=low, high=low)) for name, n, low in slices)
    every = Interval(mean=0.9, low=0.8, high=1.0)
    fidelity = Fidelity(measure="cosine", score=every, slices=scored, worst=(), worst_scores=())
    return Result(size_bytes=7, transport_bytes=5, fidelity=fidelity, latency_ms=1.0, latency_before_ms=2.0)


def test_a_bundle_says_the_fidelity_by_slice_the_lowest_first_and_of_the_pressed_model_only() -> None:
    pressed = result(("label b", 3, 0.9), ("label a", 2, 0.7), ("class x", 1, 0.9), ("length 1-1", 1, float("nan")))
    said = figures(pressed, 1.5, sliced=True)
    assert said.slices
    assert [(one.name, one.items, one.low) for one in said.slices] == [
        ("label a", 2, 0.7),
        ("class x", 1, 0.9),
        ("label b", 3, 0.9),
    ]
    assert (said.fidelity, said.latency_ms, said.size_bytes, said.transport_bytes) == (0.8, 1.5, 7, 5)
    assert figures(pressed, 1.5, sliced=False).slices is UNSET
    assert figures(result(), 1.5, sliced=True).slices is UNSET
    many = figures(result(*((f"class {n}", 1, 0.5) for n in range(200))), 1.0, sliced=True)
    assert len(many.slices or ()) == MOST_SLICES


def test_the_bound_lies_below_the_mean_and_not_far() -> None:
    random = np.random.default_rng(0)
    rows = random.normal(size=(64, 32)).astype(np.float32)
    noisy = rows + 0.3 * random.normal(size=rows.shape).astype(np.float32)
    mean = (rows * noisy).sum(1) / (np.linalg.norm(rows, axis=1) * np.linalg.norm(noisy, axis=1))
    bound = low(rows, noisy)
    # the bound of a normal approximation, which 64 texts are enough for
    assert bound == pytest.approx(mean.mean() - 1.645 * mean.std() / 8, abs=1e-3)
    assert bound < mean.mean()
    assert bound == low(rows, noisy)


def test_one_broken_text_is_seen() -> None:
    rows = np.random.default_rng(0).normal(size=(64, 32)).astype(np.float32)
    broken = rows.copy()
    broken[7] = -rows[7]
    assert low(rows, broken) < 0.95


def test_what_is_not_finite_is_never_faithful() -> None:
    rows = np.ones((64, 4), np.float32)
    spoiled = rows.copy()
    spoiled[:, 0] = np.nan
    assert not low(rows, spoiled) >= -1


def test_nothing_is_not_like_anything() -> None:
    rows = np.ones((4, 4), np.float32)
    assert low(rows, np.zeros_like(rows)) == 0


@given(
    arrays.arrays(np.float32, (5, 3), elements=st.floats(-1e3, 1e3, width=32)),
    arrays.arrays(np.float32, (5, 3), elements=st.floats(-1e3, 1e3, width=32)),
)
def test_a_fidelity_is_a_cosine(left: Any, right: Any) -> None:
    assert -1 - 1e-9 <= low(left, right) <= 1


def test_the_method_says_how_each_figure_was_found() -> None:
    said = measure.method("agreement", "20 photos")
    assert {"size_bytes", "transport_bytes", "latency_ms", "fidelity", "items"} == said.keys()
    assert "top class" in said["fidelity"]
    assert said["items"] == "20 photos"


def test_the_machine_is_named() -> None:
    assert re.fullmatch(r".+, \d+ cores, \w+ \w+", measure.machine())


def test_lanes_are_timed_in_turn_and_under_a_grant(
    tiny: Path, exported: bytes, gated: Gated, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = huggingface.read(tiny)
    digest = hashlib.sha256(exported).hexdigest()

    def work(grant: Grant) -> list[float]:
        covers(grant, digest)
        reader = reader_of((), source.text, None, source.tokenizer)
        lane = Lane(exported, digest, reader)
        ran: list[str] = []
        run = lane.session.run

        def counted(*arguments: Any) -> Any:
            ran.append("run")
            return run(*arguments)

        monkeypatch.setattr(lane.session, "run", counted)
        times = measure.latencies_ms((lane, lane), reader.feeds(["a text"]), grant, "policy")
        assert len(ran) == 2 * (measure.WARM_UP + measure.ROUNDS)
        return times

    first, second = gated(source.digest, work)
    assert 0 < first < 1000
    # the same lane twice, in turn: nearly the same time
    assert 0.5 < first / second < 2


LOGITS = np.array([[2.0, 1.0, 0.0], [0.0, 3.0, 1.0], [1.0, 0.0, 5.0]], np.float32)


def test_agreement_counts_the_same_top_class() -> None:
    other = LOGITS.copy()
    other[1] = [4.0, 3.0, 1.0]
    assert measure.scores("agreement", LOGITS, other).tolist() == [1, 0, 1]
    assert measure.scores("agreement", LOGITS, 10 * LOGITS).tolist() == [1, 1, 1]


def test_probabilities_are_taken_as_they_are() -> None:
    sure, torn = np.array([[0.9, 0.1]], np.float32), np.array([[0.5, 0.5]], np.float32)
    expected = 1 - (0.9 * np.log(0.9 / 0.5) + 0.1 * np.log(0.1 / 0.5))
    assert measure.scores("divergence", sure, torn)[0] == pytest.approx(expected)
    assert measure.scores("divergence", sure, sure)[0] == pytest.approx(1)
    assert measure.scores("divergence", sure, np.array([[0, 1]], np.float32))[0] < 0
    logarithms = measure.scores("divergence", np.log(sure), np.log(torn))[0]
    assert logarithms == pytest.approx(expected, abs=1e-6)


def test_divergence_is_that_of_the_probabilities() -> None:
    assert measure.scores("divergence", LOGITS, LOGITS + 7) == pytest.approx([1, 1, 1])
    flat = np.zeros_like(LOGITS)
    share = np.exp(LOGITS[0]) / np.exp(LOGITS[0]).sum()
    expected = 1 - (share * np.log(share * 3)).sum()
    assert measure.scores("divergence", LOGITS, flat)[0] == pytest.approx(expected)


def test_correlation_is_over_the_numbers_of_an_answer() -> None:
    assert measure.scores("correlation", LOGITS, 3 * LOGITS + 1) == pytest.approx([1, 1, 1])
    assert measure.scores("correlation", LOGITS, -LOGITS) == pytest.approx([-1, -1, -1])
    constant = np.ones((2, 3), np.float32)
    assert measure.scores("correlation", constant, constant).tolist() == [1, 1]
    assert measure.scores("correlation", constant, 2 * constant).tolist() == [0, 0]


def test_answers_of_another_shape_are_never_faithful() -> None:
    assert np.isnan(measure.scores("cosine", LOGITS, LOGITS[:, :2])).all()


def test_slices_are_by_length_label_and_class() -> None:
    items = Items(items=("a", "b", "c"), digest="", labels=("x", "y", "x"), classes=("de", "de", "en"))
    found = measure.fidelity("cosine", LOGITS, LOGITS, items, (1, 5, 6))
    assert [(one.name, one.items) for one in found.slices] == [
        ("length 1-1", 1),
        ("length 4-7", 2),
        ("label x", 2),
        ("label y", 1),
        ("class de", 2),
        ("class en", 1),
    ]


def test_the_worst_items_come_first() -> None:
    other = LOGITS.copy()
    other[2] = -LOGITS[2]
    other[0] += 1
    found = measure.fidelity("cosine", LOGITS, other, gathered(["a", "b", "c"], "text"))
    assert found.worst == (2, 0, 1)
    assert list(found.worst_scores) == sorted(found.worst_scores)


def test_the_task_has_its_own_metric_where_the_items_are_labelled() -> None:
    items = Items(items=("a", "b", "c"), digest="", labels=("one", "two", "two"))
    accuracy = measure.task_metrics(LOGITS, items, ("one", "two", "three"))["accuracy"]
    assert accuracy.mean == pytest.approx(2 / 3)
    assert measure.task_metrics(LOGITS, items, ("one", "three")) == {}
    scored = Items(items=("a", "b", "c"), digest="", scores=(0.1, 0.2, 0.9))
    assert measure.task_metrics(LOGITS[:, 2:], scored, ())["spearman"].mean == pytest.approx(1)
