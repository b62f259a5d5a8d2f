"""Answers that are made together are to the last bit what they are alone, and nobody's trouble is that of another."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, Event
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.unit.toolkit.runtime.decoder_kinds import KINDS, VOCABULARY, batching, slots
from toolkit.runtime import batching as module
from toolkit.runtime.alike import ROOM, beside
from toolkit.runtime.batching import Batching
from toolkit.runtime.cache import Alone, Cache
from toolkit.runtime.rows import IDLE_RUNS, Row
from toolkit.runtime.sampling import GenerationError
from toolkit.runtime.slots import Slots

RNG = np.random.default_rng(0)
PROMPTS = [RNG.integers(0, VOCABULARY, size).tolist() for size in (3, 40, 17, 90, 1, 26)]


def opened(one: Batching, room: int = 200, tenant: str = "a") -> Cache:
    return Cache(Row(one, tenant, room, lambda _: None))


def answered(one: Batching, prompt: list[int], count: int, tenant: str = "a") -> NDArray[np.float32]:
    """The logits (count + 1, vocabulary) of an answer of the most probable tokens."""
    with opened(one, tenant=tenant) as cache:
        logits = [cache.step(prompt)[0]]
        for _ in range(count):
            logits.append(cache.step([int(logits[-1].argmax())])[0])
    return np.stack(logits)


@pytest.fixture
def sizes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many rows each run had."""
    found: list[int] = []
    real = Slots.run

    def run(self: Slots, first: int, ids: NDArray[np.int64], *arguments: Any) -> NDArray[np.float32]:
        found.append(len(ids))
        return real(self, first, ids, *arguments)

    monkeypatch.setattr(Slots, "run", run)
    return found


@pytest.fixture
def lengths(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many tokens of a row each run had, from when it begins."""
    found: list[int] = []
    real = Slots.run

    def run(self: Slots, first: int, ids: NDArray[np.int64], *arguments: Any) -> NDArray[np.float32]:
        found.append(ids.shape[1])
        return real(self, first, ids, *arguments)

    monkeypatch.setattr(Slots, "run", run)
    return found


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Iterator[Event]:
    """Runs that wait until this is set."""
    go, real = Event(), Slots.run

    def run(*arguments: Any) -> NDArray[np.float32]:
        assert go.wait(20)
        return real(*arguments)

    monkeypatch.setattr(Slots, "run", run)
    yield go
    go.set()


def at_once(*work: Callable[[], Any]) -> list[Any]:
    with ThreadPoolExecutor(len(work)) as threads:
        return [one.result(timeout=60) for one in [threads.submit(one) for one in work]]


@pytest.mark.parametrize("kind", KINDS)
def test_a_row_beside_others_is_what_it_is_alone_to_the_last_bit(kind: str) -> None:
    """On each kernel, where it was tried and found so; where it was not, nothing is made together."""
    least = beside(slots(kind, 4, ROOM), VOCABULARY)
    if least is None:
        assert kind == "int8"  # its scale is that of all rows (docs/adr/0004)
        return
    alone = [answered(batching(kind, least=least), prompt, 12) for prompt in PROMPTS]
    shared = batching(kind, least=least)
    together = at_once(*(lambda prompt=prompt: answered(shared, prompt, 12) for prompt in PROMPTS))
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_array_equal(one, other)


def test_what_a_batch_changes_is_not_made_together() -> None:
    assert beside(slots("int8", 4, ROOM), VOCABULARY) is None


@pytest.mark.parametrize(("changed", "expected"), [((), 1), ((1,), 2), ((2,), None), ((3,), None), ((1, 2, 4), None)])
def test_numbers_of_rows_that_change_a_row_are_found(
    changed: tuple[int, ...], expected: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a kernel that is made up: the same for all numbers of rows but these."""
    real = Slots.run

    def run(self: Slots, first: int, ids: NDArray[np.int64], lengths: NDArray[np.int64]) -> NDArray[np.float32]:
        if ids.shape[1] > 1:
            return real(self, first, ids, lengths)
        rows = [real(self, first + at, ids[at : at + 1], lengths[at : at + 1]) for at in range(len(ids))]
        return np.concatenate(rows) * np.float32(1 + 1e-6 * (len(ids) in changed))

    monkeypatch.setattr(Slots, "run", run)
    assert beside(slots("float", 4, ROOM), VOCABULARY) == expected


def test_answers_share_runs(sizes: list[int]) -> None:
    shared, ready = batching("w8-t8"), Barrier(4)

    def answer(prompt: list[int]) -> None:
        with opened(shared) as cache:
            cache.step(prompt)
            ready.wait(20)
            sizes.clear()
            ready.wait(20)
            for number in range(20):
                cache.step([number])

    at_once(*(lambda prompt=prompt: answer(prompt) for prompt in PROMPTS[:4]))
    assert max(sizes) == 4
    assert len(sizes) < 40  # 80 tokens


def test_one_alone_is_run_beside_a_row_that_is_made_up(sizes: list[int]) -> None:
    answered(batching("w8-t8", least=2), PROMPTS[0], 3)
    assert sizes == [1, 2, 2, 2]
    sizes.clear()
    answered(batching("w8-t8", least=1), PROMPTS[0], 3)
    assert sizes == [1, 1, 1, 1]


def test_tenants_share_neither_runs_nor_memory(sizes: list[int]) -> None:
    shared, ready = batching("w8-t8", least=1), Barrier(2)

    def answer(tenant: str) -> None:
        with opened(shared, tenant=tenant) as cache:
            ready.wait(20)
            for number in range(20):
                cache.step([number])
            ready.wait(20)
            assert [one.tenant for one in shared._windows if any(one.rows)].count(tenant) == 1
            ready.wait(20)

    at_once(lambda: answer("a"), lambda: answer("b"))
    assert sizes == [1] * 40


def test_a_prompt_is_run_between_tokens_and_holds_nobody_up(held: Event, lengths: list[int]) -> None:
    """Of a prompt that is run and has two more parts, when a token is asked for."""
    shared = batching("w8-t8", least=1)
    long, short = opened(shared), opened(shared)

    def prompt() -> None:
        for _ in range(3):
            long.step(PROMPTS[1])

    def tokens() -> None:
        for number in range(3):
            short.step([number])

    with ThreadPoolExecutor(2) as threads:
        asked = [threads.submit(prompt)]
        until(lambda: bool(lengths))
        asked.append(threads.submit(tokens))
        until(lambda: any(one.asked for one in shared._windows))
        held.set()
        for one in asked:
            one.result(timeout=60)
    # after a part of a prompt it is the turn of a token, if one is asked for
    assert lengths[:2] == [len(PROMPTS[1]), 1]
    assert sorted(lengths) == [1] * 3 + [len(PROMPTS[1])] * 3
    long.close()
    short.close()


def until(reached: Callable[[], bool]) -> None:
    while not reached():
        time.sleep(0.001)


def test_what_cannot_be_run_is_told_to_whoever_asked_and_others_go_on() -> None:
    shared = batching("float")
    expected = answered(batching("float"), PROMPTS[1], 5)
    with opened(shared) as cache:
        with pytest.raises(Exception, match=r"(?i)indices|range|bounds"):
            cache.step([VOCABULARY + 5])
        np.testing.assert_array_equal(answered(shared, PROMPTS[1], 5), expected)
        cache.step([1])
        assert cache.tokens == 1


def test_room_is_bounded_and_free_again() -> None:
    one_window = Slots.size(shared_inputs := batching("float")._inputs, 4, module.ROOM)
    shared = batching("float", most=one_window)
    assert one_window < Slots.size(shared_inputs, 4, 2 * module.ROOM)
    rows = [opened(shared) for _ in range(4)]
    for room, tenant in ((200, "a"), (200, "b"), (module.ROOM + 1, "b")):
        with pytest.raises(GenerationError) as refused:
            opened(shared, room, tenant)
        assert refused.value.code == "generation_memory"
    rows[0].close()
    rows.append(opened(shared))
    for row in rows:
        row.close()
    opened(shared, tenant="b").close()


def test_rows_get_more_room_without_losing_what_they_have() -> None:
    shared = batching("float")
    expected = answered(batching("float"), PROMPTS[2], 6)
    with opened(shared) as cache:
        logits = [cache.step(PROMPTS[2])[0]]
        for number in range(6):
            if number == 3:
                longer = opened(shared, module.ROOM + 7)
                longer.step(PROMPTS[3])
            logits.append(cache.step([int(logits[-1].argmax())])[0])
    longer.close()
    shared.post(lambda: None).result(timeout=20)
    np.testing.assert_array_equal(np.stack(logits), expected)
    assert not shared._windows


def test_a_row_that_asks_for_nothing_is_put_behind_the_others(sizes: list[int]) -> None:
    shared = batching("w8-t8", least=1)
    expected = answered(batching("w8-t8", least=1), PROMPTS[1], 2 * IDLE_RUNS)
    caches = [opened(shared) for _ in range(3)]
    first, _, last = caches
    given = first.step(PROMPTS[0])[0]
    sizes.clear()
    logits = [last.step(PROMPTS[1])[0]]
    ready = Barrier(2)

    def beside_it() -> None:
        with opened(shared) as cache:
            for number in range(2 * IDLE_RUNS):
                ready.wait(20)
                cache.step([number])

    def ask() -> None:
        for _ in range(2 * IDLE_RUNS):
            ready.wait(20)
            logits.append(last.step([int(logits[-1].argmax())])[0])

    at_once(beside_it, ask)
    np.testing.assert_array_equal(np.stack(logits), expected)
    # it was moved, and goes on as if nothing had been
    moved = first.step([int(given.argmax())])[0]
    np.testing.assert_array_equal(moved, answered(batching("w8-t8", least=1), PROMPTS[0], 1)[1])
    for cache in caches:
        cache.close()


def test_an_idle_row_in_front_is_not_run_for_long(sizes: list[int]) -> None:
    shared = batching("w8-t8", least=1)
    caches = [opened(shared) for _ in range(3)]
    ready = Barrier(2)

    def ask(cache: Cache) -> None:
        for number in range(3 * IDLE_RUNS):
            ready.wait(20)
            cache.step([number])

    at_once(lambda: ask(caches[0]), lambda: ask(caches[2]))
    assert sizes[-1] <= 2
    assert 3 in sizes
    for cache in caches:
        cache.close()


def test_nothing_is_left_of_an_answer() -> None:
    shared = batching("float")
    stays = opened(shared)
    stays.step(PROMPTS[0])
    answered(shared, PROMPTS[3], 5)
    (window,) = shared._windows
    stays.step([1])  # the row that left is wiped before the next run
    for buffer in window.slots._buffers.values():
        assert buffer[0, :, : stays.tokens].any()
        assert not buffer[1:, :, 1:].any()  # the first token is that of rows that are made up
    stays.close()
    stays.close()
    until = time.monotonic() + 20
    while shared._thread is not None and time.monotonic() < until:
        time.sleep(0.01)
    assert shared._thread is None
    assert not shared._windows
    with pytest.raises(ValueError, match="closed"):
        stays.step([1])
    assert len(answered(shared, PROMPTS[0], 1)) == 2


def test_one_that_is_closed_while_it_waits_is_not_run(held: Event) -> None:
    shared = batching("float")
    first, second = opened(shared), opened(shared)
    with ThreadPoolExecutor(2) as threads:
        run = threads.submit(first.step, PROMPTS[0])
        while shared._prompts:
            time.sleep(0.001)
        waits = threads.submit(second.step, PROMPTS[1])
        while not shared._prompts:
            time.sleep(0.001)
        second.close()
        with pytest.raises(ValueError, match="closed"):
            waits.result(timeout=20)
        held.set()
        assert run.result(timeout=20).shape == (1, VOCABULARY)
    first.close()


def test_time_of_the_other_thread_is_shared_out() -> None:
    shared = batching("float")
    spent: list[float] = []
    cache = Cache(Row(shared, "a", 50, spent.append))
    cache.step(PROMPTS[1])
    assert spent == [0.0]  # alone, in the thread that asks
    with opened(shared):
        cache.step([1])
    assert len(spent) == 2
    assert 0 < spent[1] < 1
    cache.close()


def test_one_alone_needs_no_thread_and_others_may_come(held: Event) -> None:
    shared = batching("w8-t8")
    held.set()
    expected = [answered(batching("w8-t8"), prompt, 3) for prompt in PROMPTS[:2]]
    held.clear()
    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(answered, shared, PROMPTS[0], 3)
        while not shared._busy:
            time.sleep(0.001)
        assert shared._thread is None
        second = threads.submit(answered, shared, PROMPTS[1], 3)
        while not shared._waiting():
            time.sleep(0.001)
        held.set()
        for one, other in zip((first, second), expected, strict=True):
            np.testing.assert_array_equal(one.result(timeout=20), other)


def test_an_interrupted_run_stands_in_nobodys_way(monkeypatch: pytest.MonkeyPatch) -> None:
    shared = batching("float")

    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    with opened(shared) as cache:
        with monkeypatch.context() as patched:
            patched.setattr(Slots, "run", interrupted)
            with pytest.raises(KeyboardInterrupt):
                cache.step(PROMPTS[0])
        np.testing.assert_array_equal(cache.step(PROMPTS[0])[0], answered(batching("float"), PROMPTS[0], 0)[0])


STEPS = st.lists(st.tuples(st.integers(0, 2), st.sampled_from(["step", "token", "back", "close"]), st.integers(1, 9)))


@settings(max_examples=30, deadline=None)
@given(STEPS)
def test_however_rows_come_and_go_each_is_as_it_would_be_by_itself(steps: list[tuple[int, str, int]]) -> None:
    shared = batching("float", rows=2)
    open_: dict[int, tuple[Cache, Cache]] = {}
    for number, (at, what, size) in enumerate(steps):
        mine, apart = open_.setdefault(at, (opened(shared, 30), opened(batching("float", rows=2), 30)))
        ids = [(number * 7 + one) % VOCABULARY for one in range(1 if what == "token" else size)]
        if what == "close":
            mine.close()
            apart.close()
            del open_[at]
        elif what == "back":
            kept = min(mine.tokens, size)
            mine.back(kept)
            apart.back(kept)
        elif mine.tokens + len(ids) > 30:
            with pytest.raises(ValueError, match="do not go behind"):
                mine.step(ids)
        else:
            keep = min(len(ids), 2)
            np.testing.assert_array_equal(mine.step(ids, keep=keep), apart.step(ids, keep=keep))
        assert {mine.tokens, apart.tokens} <= {mine.tokens}
    for both in open_.values():
        for cache in both:
            cache.close()


def test_what_parts_left_can_be_taken_over_alone_and_in_a_row() -> None:
    caches = [Cache(Alone(slots("w8-t8", 1, 60))), opened(batching("w8-t8"), 60)]
    taken: list[NDArray[np.float32]] = []
    for source in caches:
        source.step(PROMPTS[1][:16])
        source.step(PROMPTS[1][16:32])
        blocks: list[Any] = []
        source.read([(0, 16), (16, 32)], blocks.extend)
        expected = source.step(PROMPTS[1][32:])
        assert len(blocks) == 2
        for target in (Cache(Alone(slots("w8-t8", 1, 60))), opened(batching("w8-t8"), 60)):
            target.write(blocks)
            assert target.tokens == 32
            np.testing.assert_array_equal(target.step(PROMPTS[1][32:]), expected)
            with pytest.raises(ValueError, match="do not go behind"):
                target.write(blocks)
            with pytest.raises(ValueError, match="there are 40 tokens"):
                target.read([(32, 41)], blocks.extend)
            target.close()
        taken.append(expected)
        source.close()
    np.testing.assert_array_equal(taken[0], taken[1])


def test_a_cache_that_is_closed_runs_nothing() -> None:
    cache = Cache(Alone(slots("float", 1, 20)))
    cache.step([1, 2])
    cache.close()
    cache.close()
    with pytest.raises(ValueError, match="closed"):
        cache.step([1])
    with pytest.raises(ValueError, match="no 1 rows"):
        slots("float", 1, 20).run(1, np.array([[1]]), np.array([1]))
