"""The rate of a key."""

from __future__ import annotations

import pickle

import pytest

from serve.admission import Busy, Rate


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def taken(rate: Rate, key: str, at_most: int) -> int:
    """How many calls the key gets in at this moment."""
    for count in range(at_most):
        try:
            rate.take(key)
        except Busy:
            return count
    return at_most


def test_a_burst_is_let_in_and_no_more() -> None:
    assert taken(Rate(per_s=1, burst=5, clock=Clock()), "a", at_most=10) == 5


def test_the_rate_refills_and_the_burst_is_its_bound() -> None:
    clock = Clock()
    rate = Rate(per_s=2, burst=4, clock=clock)
    assert taken(rate, "a", at_most=10) == 4

    clock.now += 1.5
    assert taken(rate, "a", at_most=10) == 3
    clock.now += 3600
    assert taken(rate, "a", at_most=10) == 4


def test_in_the_long_run_the_rate_holds() -> None:
    clock = Clock()
    rate = Rate(per_s=3, burst=2, clock=clock)
    calls = 0
    for _ in range(1000):
        calls += taken(rate, "a", at_most=10)
        clock.now += 0.1
    assert calls == pytest.approx(2 + 3 * 100, abs=1)


def test_a_refused_call_costs_nothing() -> None:
    clock = Clock()
    rate = Rate(per_s=1, burst=1, clock=clock)
    rate.take("a")
    for _ in range(50):
        assert taken(rate, "a", at_most=1) == 0
    clock.now += 1
    assert taken(rate, "a", at_most=2) == 1


def test_one_key_does_not_use_up_what_another_has() -> None:
    rate = Rate(per_s=1, burst=3, clock=Clock())
    assert taken(rate, "a", at_most=10) == 3
    assert taken(rate, "b", at_most=10) == 3


@pytest.mark.parametrize(("per_s", "seconds"), [(100.0, 1), (1.0, 1), (0.1, 10), (0.3, 4)])
def test_after_the_seconds_it_says_there_is_a_call_to_have(per_s: float, seconds: int) -> None:
    clock = Clock()
    rate = Rate(per_s=per_s, burst=1, clock=clock)
    rate.take("a")
    with pytest.raises(Busy) as caught:
        rate.take("a")

    assert (caught.value.code, caught.value.retry_after_s) == ("rate_exceeded", seconds)
    clock.now += seconds
    rate.take("a")


def test_a_clock_that_stands_gives_nothing() -> None:
    rate = Rate(per_s=1000, burst=1, clock=Clock())
    assert taken(rate, "a", at_most=5) == 1


def test_the_fault_survives_a_process_border() -> None:
    again = pickle.loads(pickle.dumps(Busy("queue_full", "full", 3)))  # noqa: S301 - our own bytes
    assert (again.code, str(again), again.retry_after_s) == ("queue_full", "full", 3)
