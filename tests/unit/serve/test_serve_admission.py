"""The limits of accounts, also over several workers."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from multiprocessing.connection import Connection

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve.admission import Admission, Busy
from serve.buckets import SETS, WAYS, make

SECOND = 10**9


class Clock:
    """Nanoseconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now = 1000 * SECOND

    def __call__(self) -> int:
        return self.now

    def pass_s(self, seconds: float) -> None:
        self.now += round(seconds * SECOND)


@pytest.fixture
def clock() -> Clock:
    return Clock()


Workers = Callable[..., list[Admission]]


@pytest.fixture
def workers(clock: Clock) -> Iterator[Workers]:
    """So many workers that share one table."""
    with ExitStack() as stack:

        def started(count: int = 1, sets: int = SETS) -> list[Admission]:
            descriptor = make(count, sets)
            stack.callback(os.close, descriptor)
            return [stack.enter_context(closing(Admission(descriptor, worker, clock))) for worker in range(count)]

        yield started


def code(act: Callable[[], object]) -> str:
    with pytest.raises(Busy) as caught:
        act()
    return caught.value.code


def taken(admission: Admission, account: str, at_most: int, per_s: float = 1, burst: int = 5) -> int:
    """How many calls the account gets in at this moment."""
    for count in range(at_most):
        try:
            admission.enter(account, per_s, burst)
        except Busy:
            return count
    return at_most


def test_a_burst_is_let_in_and_no_more(workers: Workers) -> None:
    (alone,) = workers()
    assert taken(alone, "a", at_most=10, burst=5) == 5


def test_the_rate_refills_and_the_burst_is_its_bound(workers: Workers, clock: Clock) -> None:
    (alone,) = workers()
    assert taken(alone, "a", at_most=10, per_s=2, burst=4) == 4
    clock.pass_s(1.5)
    assert taken(alone, "a", at_most=10, per_s=2, burst=4) == 3
    clock.pass_s(3600)
    assert taken(alone, "a", at_most=10, per_s=2, burst=4) == 4


def test_in_the_long_run_the_rate_holds(workers: Workers, clock: Clock) -> None:
    (alone,) = workers()
    calls = 0
    for _ in range(1000):
        calls += taken(alone, "a", at_most=10, per_s=3, burst=2)
        clock.pass_s(0.1)
    assert calls == pytest.approx(2 + 3 * 100, abs=1)


def test_a_refused_call_costs_nothing(workers: Workers, clock: Clock) -> None:
    (alone,) = workers()
    alone.enter("a", 1, 1)
    for _ in range(50):
        assert taken(alone, "a", at_most=1, burst=1) == 0
    clock.pass_s(1)
    assert taken(alone, "a", at_most=2, burst=1) == 1


def test_one_account_does_not_use_up_what_another_has(workers: Workers) -> None:
    (alone,) = workers()
    assert [taken(alone, account, at_most=10, burst=3) for account in ("a", "b", "\ud800", "")] == [3] * 4


@pytest.mark.parametrize(("per_s", "seconds"), [(100.0, 1), (1.0, 1), (0.1, 10), (0.3, 4)])
def test_after_the_seconds_it_says_there_is_a_call_to_have(
    workers: Workers, clock: Clock, per_s: float, seconds: int
) -> None:
    (alone,) = workers()
    alone.enter("a", per_s, 1)
    with pytest.raises(Busy) as caught:
        alone.enter("a", per_s, 1)

    assert (caught.value.code, caught.value.retry_after_s) == ("rate_exceeded", seconds)
    clock.pass_s(seconds)
    alone.enter("a", per_s, 1)


def test_a_clock_that_stands_gives_nothing(workers: Workers) -> None:
    (alone,) = workers()
    assert taken(alone, "a", at_most=5, per_s=1000, burst=1) == 1


def test_a_limit_that_is_lowered_holds_at_once(workers: Workers, clock: Clock) -> None:
    (alone,) = workers()
    assert taken(alone, "a", at_most=1000, per_s=0.001, burst=1000) == 1000
    # however far ahead the old limit was, the new one is never further behind than its own burst
    assert taken(alone, "a", at_most=10, per_s=1, burst=2) == 0
    clock.pass_s(2)
    assert taken(alone, "a", at_most=10, per_s=1, burst=2) == 0
    clock.pass_s(1e6)
    assert taken(alone, "a", at_most=10, per_s=1, burst=2) == 2


@given(st.lists(st.tuples(st.integers(0, 3), st.floats(0, 2)), max_size=60), st.sampled_from([0.5, 1, 3, 7]))
def test_in_no_stretch_of_time_is_more_let_in_than_burst_and_rate(steps: list[tuple[int, float]], per_s: float) -> None:
    clock, burst = Clock(), 3
    descriptor = make(4)
    try:
        with ExitStack() as stack:
            workers = [stack.enter_context(closing(Admission(descriptor, worker, clock))) for worker in range(4)]
            let_in: list[int] = []
            for worker, passes in steps:
                clock.pass_s(passes / per_s)
                let_in += [clock.now] * taken(workers[worker], "a", at_most=2, per_s=per_s, burst=burst)
    finally:
        os.close(descriptor)
    for first, since in enumerate(let_in):
        for last in range(first, len(let_in)):
            assert last - first + 1 <= burst + (let_in[last] - since) / SECOND * per_s + 1e-6


def test_workers_draw_on_one_bucket(workers: Workers, clock: Clock) -> None:
    first, second, third = workers(3)
    assert [taken(one, "a", at_most=2, burst=5) for one in (first, second, third)] == [2, 2, 1]
    clock.pass_s(2)
    assert taken(third, "a", at_most=5, burst=5) == 2


def test_so_many_run_at_once_over_all_workers(workers: Workers) -> None:
    first, second = workers(2)
    leave = first.enter("a", 1e6, 1000, 2)
    second.enter("a", 1e6, 1000, 2)
    for worker in (first, second):
        with pytest.raises(Busy) as caught:
            worker.enter("a", 1e6, 1000, 2)
        assert (caught.value.code, caught.value.retry_after_s) == ("concurrency_exceeded", 1)
        worker.enter("b", 1e6, 1000, 2)
    leave()
    second.enter("a", 1e6, 1000, 2)
    assert code(lambda: first.enter("a", 1e6, 1000, 2)) == "concurrency_exceeded"


def test_what_runs_too_many_costs_no_rate(workers: Workers) -> None:
    (alone,) = workers()
    leave = alone.enter("a", 1, 2, 1)
    for _ in range(10):
        assert code(lambda: alone.enter("a", 1, 2, 1)) == "concurrency_exceeded"
    leave()
    alone.enter("a", 1, 2, 1)()
    assert code(lambda: alone.enter("a", 1, 2, 1)) == "rate_exceeded"


def test_the_successor_of_a_worker_that_died_begins_with_nothing(clock: Clock) -> None:
    descriptor = make(2)
    try:
        with closing(Admission(descriptor, 0, clock)) as lives:
            died = Admission(descriptor, 1, clock)
            for _ in range(3):
                died.enter("a", 1e6, 1000, 4)
            lives.enter("a", 1e6, 1000, 4)
            assert code(lambda: lives.enter("a", 1e6, 1000, 4)) == "concurrency_exceeded"
            died.close()
            with closing(Admission(descriptor, 1, clock)) as successor:
                for _ in range(3):
                    successor.enter("a", 1e6, 1000, 4)
                assert code(lambda: successor.enter("a", 1e6, 1000, 4)) == "concurrency_exceeded"
    finally:
        os.close(descriptor)


def test_there_is_room_for_so_many_accounts_and_those_that_rest_make_room(workers: Workers, clock: Clock) -> None:
    (alone,) = workers(sets=1)
    leave = alone.enter("stays", 1e6, 1000, 5)
    for number in range(WAYS - 1):
        alone.enter(f"account {number}", 1, 1)
    assert code(lambda: alone.enter("one more", 1, 1)) == "callers_exceeded"
    assert code(lambda: alone.enter("account 0", 1, 1)) == "rate_exceeded"
    clock.pass_s(1)
    for number in range(WAYS - 1):
        alone.enter(f"another {number}", 1, 1)
    assert code(lambda: alone.enter("one more", 1, 1)) == "callers_exceeded"
    leave()
    alone.enter("one more", 1, 1)


def test_a_worker_finds_its_account_again_where_another_one_took_the_slot(workers: Workers, clock: Clock) -> None:
    first, second = workers(2, sets=1)
    first.enter("a", 1, 1)
    clock.pass_s(1)
    for number in range(WAYS):
        second.enter(f"account {number}", 1, 1)
    assert code(lambda: first.enter("a", 1, 1)) == "callers_exceeded"
    clock.pass_s(1)
    first.enter("a", 1, 1)
    assert code(lambda: second.enter("a", 1, 1)) == "rate_exceeded"


def asking(descriptor: int, worker: int, connection: Connection, concurrent: int | None) -> None:
    """A worker: ask as fast as it goes until it is told to stop, and tell how often it got in and the most inside."""
    admission = Admission(descriptor, worker)
    calls, leaves = 0, []
    connection.recv()
    end = time.monotonic_ns() + SECOND // 2
    while time.monotonic_ns() < end:
        try:
            leaves.append(admission.enter("a", 100, 50, concurrent))
            calls += 1
        except Busy:
            pass
    connection.send((calls, len(leaves)))
    connection.recv()  # keep what is inside until all have told


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@pytest.mark.parametrize("concurrent", [None, 20])
def test_processes_that_race_get_no_more_than_one_alone(concurrent: int | None) -> None:
    descriptor = make(3)
    context = multiprocessing.get_context("fork")
    pipes = [context.Pipe() for _ in range(3)]
    processes = [
        context.Process(target=asking, args=(descriptor, worker, theirs, concurrent))
        for worker, (_, theirs) in enumerate(pipes)
    ]
    try:
        for process in processes:
            process.start()
        began = time.monotonic()
        for ours, _ in pipes:
            ours.send("go")
        told = [ours.recv() for ours, _ in pipes]
        seconds = time.monotonic() - began
        for ours, _ in pipes:
            ours.send("end")
    finally:
        for process in processes:
            process.join(10)
            process.kill()
            process.close()
        for pipe in pipes:
            for end in pipe:
                end.close()
        os.close(descriptor)
    calls = sum(calls for calls, _ in told)
    if concurrent is None:
        # the processes asked for half a second: 50 at once, and 100 a second from then on
        assert 50 + 100 * 0.45 <= calls <= 50 + 100 * seconds
    else:
        assert calls == sum(inside for _, inside in told) == concurrent


def test_the_fault_survives_a_process_border() -> None:
    again = pickle.loads(pickle.dumps(Busy("queue_full", "full", 3)))  # noqa: S301 - our own bytes
    assert (again.code, str(again), again.retry_after_s) == ("queue_full", "full", 3)
