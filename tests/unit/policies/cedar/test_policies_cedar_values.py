"""Where Python would answer, Cedar has an error; and what Python calls equal is not always so in Cedar."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from policies.cedar.values import ABSENT, Entity, EvaluationError, Record, add, like, multiply, negate, record, subtract

LEAST, MOST = -(2**63), 2**63 - 1


@pytest.mark.parametrize(
    "use",
    [
        lambda: ABSENT == "x",
        lambda: ABSENT != "x",
        lambda: "x" == ABSENT,  # noqa: SIM300 - the other side is asked first
        lambda: "x" != ABSENT,  # noqa: SIM300 - the other side is asked first
        lambda: 5 < ABSENT,  # noqa: SIM300 - the other side is asked first
        lambda: ABSENT <= 5,
        lambda: Record(a=1) == ABSENT,
        lambda: Record(a=1) != ABSENT,
        lambda: Entity(("T", "x")) == ABSENT,
        lambda: Entity(("T", "x")) != ABSENT,
        lambda: frozenset({1}) == ABSENT,
        lambda: frozenset({1}).isdisjoint(ABSENT),
        lambda: ABSENT in frozenset({1}),
        lambda: 1 in ABSENT,
        lambda: frozenset({ABSENT}),
        lambda: not ABSENT,
        lambda: ABSENT and True,
        lambda: 1 if ABSENT else 2,
        lambda: ABSENT["a"],
        lambda: ABSENT.family,
        lambda: like(ABSENT, ("a", "")),  # type: ignore[arg-type] # what is absent has no type
        lambda: record(("a",), ABSENT),
    ],
)
def test_what_is_absent_is_never_an_answer(use: Callable[[], Any]) -> None:
    with pytest.raises((EvaluationError, TypeError)):
        use()


@pytest.mark.parametrize(
    "use",
    [
        lambda: add(MOST, 1),
        lambda: add(LEAST, -1),
        lambda: subtract(LEAST, 1),
        lambda: multiply(MOST, 2),
        lambda: negate(LEAST),
    ],
)
def test_an_overflow_is_an_error(use: Callable[[], Any]) -> None:
    with pytest.raises(EvaluationError, match="integer overflow"):
        use()


def test_the_bounds_themselves_are_numbers() -> None:
    assert (add(MOST, 0), subtract(LEAST, 0), negate(MOST), multiply(LEAST, 1)) == (MOST, LEAST, -MOST, LEAST)


@pytest.mark.parametrize(
    ("text", "pieces", "fits"),
    [
        ("aba", ("aba",), True),
        ("abab", ("aba",), False),
        ("aba", ("aba", "aba"), False),
        ("abaaba", ("aba", "aba"), True),
        ("", ("", ""), True),
        ("a\nb", ("a", "b"), True),
        ("axbxc", ("a", "b", "c"), True),
        ("ab", ("a", "b", "b"), False),
        ("aXbYbZc", ("a", "b", "b", "c"), True),
        ("a" * 100_000 + "b", ("a", *["a"] * 50, "c"), False),
    ],
)
def test_like(text: str, pieces: tuple[str, ...], fits: bool) -> None:
    assert like(text, pieces) is fits


def test_an_entity_is_no_record() -> None:
    assert (Entity(("T", "x")) == Record()) is False
    assert Entity(("T", "x"), {"a": 1}) == Entity(("T", "x"))
    assert Entity(("T", "x")) != Entity(("U", "x"))
    assert len({Entity(("T", "x")), Entity(("T", "x"), {"a": 1}), Record(), Record()}) == 2
