"""Which point stands for a bound, on figures that are made up."""

from __future__ import annotations

from math import nan

import pytest

from benchmarks.compression.matching import Quality, fastest, nearest, said
from toolkit.compress.results import Interval


def quality(size: int, low: float, held_out: float = 0.5) -> Quality:
    known, other = (Interval(mean=one + 0.01, low=one, high=one + 0.02) for one in (low, held_out))
    return Quality(size=size, packed=size - 1, chosen_by={"cosine": known}, held_out={"cosine": other})


FOUND = {"large": quality(15_000_000, 0.99), "small": quality(9_000_000, 0.95), "twin": quality(8_000_000, 0.95)}


@pytest.mark.parametrize(
    ("most", "name"),
    [(15_000_000, "large"), (14_999_999, "twin"), (9_000_000, "twin"), (8_000_000, "twin"), (7_999_999, None)],
)
def test_the_nearest_is_the_most_faithful_that_is_small_enough_and_of_equals_the_smaller(
    most: int, name: str | None
) -> None:
    assert nearest(FOUND, list(FOUND), "cosine", most) == name


def test_only_those_that_are_named_are_chosen_among() -> None:
    assert nearest(FOUND, ["small"], "cosine", 15_000_000) == "small"
    assert nearest(FOUND, [], "cosine", 15_000_000) is None


def test_what_was_held_out_is_not_chosen_by() -> None:
    found = {"chosen": quality(1, 0.9, held_out=0.1), "other": quality(1, 0.8, held_out=0.9)}
    assert nearest(found, list(found), "cosine", 1) == "chosen"
    assert fastest(found, list(found), "cosine", 0.85, {"chosen": 2.0, "other": 1.0}) == "chosen"


def test_one_whose_answers_are_no_numbers_is_never_chosen() -> None:
    found = {"broken": quality(1, nan), "whole": quality(1, 0.1)}
    assert nearest(found, list(found), "cosine", 1) == "whole"
    assert nearest(found, ["broken"], "cosine", 1) is None
    assert fastest(found, list(found), "cosine", 0.0, {"broken": 1.0, "whole": 2.0}) == "whole"


@pytest.mark.parametrize(("least", "name"), [(0.95, "twin"), (0.951, "large"), (0.991, None)])
def test_the_fastest_is_among_those_that_are_near_enough(least: float, name: str | None) -> None:
    assert fastest(FOUND, list(FOUND), "cosine", least, {"large": 3.0, "small": 2.0, "twin": 1.0}) == name


def test_a_point_is_said_with_its_sizes_its_interval_and_its_time() -> None:
    line = said("At most 15 MB", "large", FOUND, {"large": 3.25})
    assert line == "At most 15 MB: large, 15.00 MB (15.00 packed), cosine 0.5100 (0.5000 to 0.5200), 3.25 ms"
    assert said("At most 1 MB", None, FOUND, {}) == "At most 1 MB: none"
