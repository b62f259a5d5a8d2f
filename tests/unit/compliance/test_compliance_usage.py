"""Quotas: with N calls left and many processes, N calls are made and not one more."""

from __future__ import annotations

import multiprocessing
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from compliance.state.api_key_table import NAME
from compliance.state.api_keys import ApiKeys
from compliance.state.errors import StateError
from compliance.state.usage import DAY_S, HOUR, MINUTE_S, Counted, Held, Short, Usage

NOW = 1_800_000_000 * 10**9
QUOTA = 60


@pytest.fixture
def keys(tmp_path: Path) -> Iterator[ApiKeys]:
    with closing(ApiKeys(tmp_path)) as keys:
        yield keys


@pytest.fixture
def usage(tmp_path: Path) -> Iterator[Usage]:
    with closing(Usage(tmp_path)) as usage:
        yield usage


def test_calls_are_counted_and_none_beyond_the_quota(keys: ApiKeys, usage: Usage) -> None:
    account = keys.create(NOW, calls=2)[0].account

    assert usage.reserve(account) == Counted(0, 2, taken=True)
    assert usage.reserve(account) == Counted(1, 2, taken=True)
    assert usage.reserve(account) == usage.reserve(account) == Counted(2, 2, taken=False)
    assert [one.used for one in keys.all()] == [2]


def test_what_was_refused_is_given_back(keys: ApiKeys, usage: Usage) -> None:
    account = keys.create(NOW, calls=1)[0].account
    usage.reserve(account)
    usage.give_back(account)
    assert usage.reserve(account) == Counted(0, 1, taken=True)
    for _ in range(3):
        usage.give_back(account)
    assert [one.used for one in keys.all()] == [0]


def test_what_is_left_is_told_of_accounts_with_a_quota_and_a_key_that_stands(keys: ApiKeys, usage: Usage) -> None:
    assert usage.left() == {}  # no store yet
    some, spent, withdrawn = (keys.create(NOW, calls=calls)[0] for calls in (5, 1, 7))
    keys.create(NOW)  # without a quota
    for account in (some.account, some.account, spent.account):
        usage.reserve(account)
    keys.revoke(withdrawn.id, NOW)
    assert usage.left() == {some.account: 3, spent.account: 0}


def test_a_key_and_the_one_that_replaces_it_share_a_quota(keys: ApiKeys, usage: Usage) -> None:
    old = keys.create(NOW, calls=3)[0]
    usage.reserve(old.account)
    new, *_ = keys.rotate(old.id, NOW, overlap=1000)
    assert usage.reserve(new.account) == Counted(1, 3, taken=True)
    assert [one.used for one in keys.all()] == [2, 2]


def test_an_account_without_a_quota_cannot_be_counted(keys: ApiKeys, usage: Usage) -> None:
    account = keys.create(NOW)[0].account
    with pytest.raises(StateError, match="no quota"):
        usage.reserve(account)


def test_without_a_store_there_is_nothing_to_count(tmp_path: Path, usage: Usage) -> None:
    with pytest.raises(StateError):
        usage.reserve("0123456789abcdef")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("durable", [True, False])
def test_a_count_is_as_durable_as_the_records(keys: ApiKeys, tmp_path: Path, durable: bool) -> None:
    account = keys.create(NOW, calls=1)[0].account
    with closing(Usage(tmp_path, durable=durable)) as usage:
        usage.reserve(account)
        assert usage._table is not None
        assert usage._table.execute("PRAGMA synchronous").fetchone() == (2 if durable else 1,)


def taking(folder: Path, account: str, give_back: int) -> int:
    """Ask until nothing is left, and give every `give_back`th call back; how many calls were kept."""
    kept = asked = 0
    with closing(Usage(folder)) as usage:
        while usage.reserve(account).taken:
            asked += 1
            if give_back and asked % give_back == 0:
                usage.give_back(account)
            else:
                kept += 1
    return kept


def test_of_many_processes_exactly_so_many_calls_are_made(keys: ApiKeys, tmp_path: Path) -> None:
    account = keys.create(NOW, calls=QUOTA)[0].account
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        kept = pool.starmap(taking, [(tmp_path, account, give_back) for give_back in (0, 2, 3)])
        pool.close()
        pool.join()
    assert sum(kept) == QUOTA
    assert [one.used for one in keys.all()] == [QUOTA]


def test_threads_share_one_object(keys: ApiKeys, usage: Usage) -> None:
    account = keys.create(NOW, calls=50)[0].account
    with ThreadPoolExecutor(8) as pool:
        counted = list(pool.map(lambda _: usage.reserve(account), range(80)))
    assert sorted(one.usage for one in counted if one.taken) == list(range(50))


def test_the_last_use_is_kept_to_the_hour(keys: ApiKeys, usage: Usage) -> None:
    key = keys.create(NOW)[0]
    usage.saw(key.id, NOW)
    usage.saw(key.id, NOW + HOUR - 1)
    assert [one.seen for one in keys.all()] == [NOW - NOW % HOUR]
    usage.saw(key.id, NOW + HOUR)
    assert [one.seen for one in keys.all()] == [NOW - NOW % HOUR + HOUR]


def test_the_last_use_never_waits_and_never_fails(keys: ApiKeys, usage: Usage, tmp_path: Path) -> None:
    key = keys.create(NOW)[0]
    with closing(sqlite3.connect(tmp_path / NAME, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        usage.saw(key.id, NOW)
        other.execute("ROLLBACK")
    assert [one.seen for one in keys.all()] == [None]


MIDNIGHT = 1_800_057_600  # of a day, in seconds
LIMITS = {"per_minute": 100, "per_day": 250}


def test_tokens_are_held_and_what_was_not_taken_is_given_back(keys: ApiKeys, usage: Usage) -> None:
    account = keys.create(NOW)[0].account
    first = usage.hold(account, 60, MIDNIGHT, **LIMITS)
    assert first == Held(account, 60, MIDNIGHT // MINUTE_S, MIDNIGHT // DAY_S)
    assert usage.hold(account, 41, MIDNIGHT + 59, **LIMITS) == Short("minute", 100, 40, 1)
    assert isinstance(usage.hold(account, 40, MIDNIGHT + 59, **LIMITS), Held)
    usage.settle(first, 10)
    assert usage.hold(account, 51, MIDNIGHT + 59, **LIMITS) == Short("minute", 100, 50, 1)
    # what was refused was not counted
    assert isinstance(usage.hold(account, 50, MIDNIGHT + 59, **LIMITS), Held)


def test_a_minute_and_a_day_end_and_the_longer_wait_is_told(keys: ApiKeys, usage: Usage) -> None:
    account = keys.create(NOW)[0].account
    for minute in range(2):
        assert isinstance(usage.hold(account, 100, MIDNIGHT + 60 * minute, **LIMITS), Held)
    assert usage.hold(account, 51, MIDNIGHT + 121, **LIMITS) == Short("day", 250, 50, DAY_S - 121)
    last = usage.hold(account, 50, MIDNIGHT + 121, **LIMITS)
    assert usage.hold(account, 100, MIDNIGHT + 122, **LIMITS) == Short("day", 250, 0, DAY_S - 122)
    assert isinstance(usage.hold(account, 100, MIDNIGHT + DAY_S, **LIMITS), Held)
    # what was held yesterday is no matter of today
    assert isinstance(last, Held)
    usage.settle(last, 0)
    assert usage.hold(account, 1, MIDNIGHT + DAY_S, **LIMITS) == Short("minute", 100, 0, 60)


def test_more_than_a_limit_is_never_held(keys: ApiKeys, usage: Usage) -> None:
    account = keys.create(NOW)[0].account
    assert usage.hold(account, 101, MIDNIGHT, per_minute=100, per_day=None) == Short("minute", 100, 100, 60)
    assert isinstance(usage.hold(account, 101, MIDNIGHT, per_minute=None, per_day=250), Held)
    assert usage.hold(account, 150, MIDNIGHT, per_minute=None, per_day=250) == Short("day", 250, 149, DAY_S)


def test_of_many_that_ask_at_once_no_more_tokens_are_held_than_there_are(keys: ApiKeys, tmp_path: Path) -> None:
    account = keys.create(NOW)[0].account

    def holding(_: int) -> int:
        with closing(Usage(tmp_path)) as own:  # a connection each, as processes have
            return sum(isinstance(own.hold(account, 7, MIDNIGHT, **LIMITS), Held) for _ in range(6))

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(holding, range(4))) == 100 // 7
