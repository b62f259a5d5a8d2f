"""Models that label tokens: how near two are, and how much of what a person marked was found."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from policies.errors import Fault
from toolkit.bundle import Found
from toolkit.compress import measure
from toolkit.compress.data import Marked, gathered
from toolkit.compress.labelled import agreement, compared, counts, naming_texts, padded
from toolkit.runtime.entities import Entity

LABELS = ("O", "B-PER", "I-PER", "B-LOC")


def logits(*texts: str) -> Any:
    """Texts as their labels, one digit a token."""
    return padded([np.eye(len(LABELS), dtype=np.float32)[[[int(one) for one in text]]] for text in texts])


def entities(*given: tuple[int, int, str]) -> list[Entity]:
    return [Entity(start=start, end=end, label=label, score=0.9) for start, end, label in given]


def marked(*given: tuple[int, int, str]) -> tuple[Marked, ...]:
    return tuple(Marked(*one) for one in given)


def test_what_both_leave_outside_does_not_count() -> None:
    reference = logits("00012000", "0", "10", "3")
    assert agreement(reference, logits("00012000", "0", "10", "3"), LABELS).tolist() == [1, 1, 1, 1]
    # one of two found; nothing found; something found in nothing; another label
    assert agreement(reference, logits("00010000", "0", "00", "1"), LABELS).tolist() == [0.5, 1, 0, 0]
    assert agreement(logits("00"), logits("01"), LABELS).tolist() == [0]


def test_a_model_that_finds_nothing_any_more_is_not_faithful() -> None:
    reference = logits(*["0000000000012"] * 20)
    items = gathered(map(str, range(20)), "text")
    silent = measure.fidelity("tokens", reference, logits(*["0" * 13] * 20), items, labels=LABELS)
    assert silent.score.high == 0


def test_labels_without_an_outside_all_count() -> None:
    assert agreement(logits("0123"), logits("0120"), ("A", "B", "C", "D")).tolist() == [0.75]


def test_answers_that_are_no_numbers_or_of_another_form_are_nan() -> None:
    reference, broken = logits("0123", "01"), logits("0123", "01")
    broken[1, 1, 2] = np.inf
    assert np.isnan(agreement(reference, broken, LABELS)).tolist() == [False, True]
    # behind the end of the text nothing is looked at
    broken = logits("0123", "01")
    broken[1, 3] = 7
    assert agreement(reference, broken, LABELS).tolist() == [1, 1]
    assert np.isnan(agreement(reference, logits("0123"), LABELS)).all()


def test_an_entity_counts_where_its_kind_and_both_ends_are_right() -> None:
    found = [entities((0, 4, "PER"), (9, 12, "LOC")), entities((3, 5, "PER")), []]
    gold = [marked((0, 4, "PER"), (9, 13, "LOC")), marked(), marked((1, 2, "PER"))]
    assert compared(found, gold, LABELS) == {
        "LOC": Found(precision=0.0, recall=0.0, found=1, gold=1),
        "PER": Found(precision=0.5, recall=0.5, found=2, gold=2),
    }
    assert {name: (right.tolist(), of.tolist()) for name, (right, of) in counts(found, gold).items()} == {
        "precision": ([1, 0, 0], [2, 1, 0]),
        "recall": ([1, 0, 0], [2, 0, 1]),
    }


def test_what_is_neither_found_nor_marked_has_no_share() -> None:
    assert compared([[]], [marked((0, 1, "PER"))], LABELS) == {
        "PER": Found(precision=None, recall=0.0, found=0, gold=1)
    }
    assert compared([entities((0, 1, "PER"))], [()], LABELS) == {
        "PER": Found(precision=0.0, recall=None, found=1, gold=0)
    }
    assert compared([[]], [()], LABELS) == {}


def test_a_marked_kind_that_the_model_does_not_know_is_refused() -> None:
    with pytest.raises(Fault) as caught:
        compared([[]], [marked((0, 1, "PERSON"))], LABELS)
    assert caught.value.code == "data_format"
    assert "PERSON" in str(caught.value)


def test_a_ratio_is_of_all_items_together_and_its_bounds_lie_around_it() -> None:
    parts, wholes = np.array([1, 0, 3] * 20), np.array([1, 2, 4] * 20)
    found = measure.ratio(parts, wholes)
    assert found is not None
    assert found.mean == pytest.approx(4 / 7)
    assert found.low < found.mean < found.high
    assert measure.ratio(parts, np.zeros(60, dtype=np.int64)) is None
    alone = measure.ratio(np.array([1, 0]), np.array([1, 0]))
    assert alone is not None
    assert (alone.low, alone.mean, alone.high) == (1, 1, 1)


def test_the_sentences_name_persons_and_are_the_same_every_time() -> None:
    texts = naming_texts(64)
    assert texts == naming_texts(64)
    assert texts[:8] == naming_texts(8)
    assert len(set(texts)) > 50
    assert sum("Anna Schmidt" in text for text in texts) >= 3
    assert not any("{" in text for text in texts)
