"""What the tables of the benchmarks of compression are made from."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.compression.peers import Feeds
from benchmarks.compression.table import agreed, timed


def test_items_that_are_alike_count_as_one() -> None:
    original = np.eye(2, dtype=np.float32)[[0] * 10 + [1] * 10]
    answers = np.eye(2, dtype=np.float32)[[0] * 20]
    by_item, by_photo = (agreed("agreement", original, answers, alike) for alike in (1, 10))
    assert by_item.mean == by_photo.mean == 0.5
    assert (by_photo.low, by_photo.high) == (0.0, 1.0)
    assert 0.2 < by_item.low < by_item.high < 0.8


def test_items_that_do_not_fall_into_groups_are_refused() -> None:
    rows = np.ones((3, 2), np.float32)
    with pytest.raises(ValueError, match="reshape"):
        agreed("agreement", rows, rows, 2)


class Counting:
    """A candidate that says how often it was asked, in seconds."""

    size = packed = 0

    def __init__(self, log: list[str], name: str) -> None:
        self._log, self._name = log, name

    def answers(self, feeds: Feeds) -> np.ndarray:
        return np.zeros(1)

    def seconds(self, feeds: Feeds, runs: int) -> float:
        self._log.append(f"{self._name} {runs}")
        return float(len(self._log))


def test_candidates_are_warmed_up_and_then_asked_in_turn() -> None:
    log: list[str] = []
    rounds = timed({name: Counting(log, name) for name in ("a", "b")}, {}, 6, rounds=2)
    assert log == ["a 2", "b 2", "a 6", "b 6", "a 6", "b 6"]
    assert rounds == {"a": [3000.0, 5000.0], "b": [4000.0, 6000.0]}
