"""The table that workers share: its room, its secret, and its lock."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from contextlib import closing

import pytest

from serve.admission import Admission
from serve.buckets import SETS, WAYS, Buckets, Full, make


def test_accounts_are_spread_by_a_secret() -> None:
    sets = []
    for _ in range(2):
        descriptor = make(1)
        with closing(Buckets(descriptor, 0)) as buckets:
            os.close(descriptor)
            sets.append([buckets.slot(f"account {number}").set for number in range(100)])
    assert sets[0] != sets[1]
    assert all(0 <= number < SETS for number in sets[0])


@pytest.mark.parametrize("worker", [-1, 2])
def test_there_is_no_worker_beyond_those_it_was_made_for(worker: int) -> None:
    descriptor = make(2)
    try:
        with pytest.raises(ValueError, match="no such worker"):
            Buckets(descriptor, worker)
    finally:
        os.close(descriptor)


def test_a_full_set_is_said_to_be_full() -> None:
    descriptor = make(1, sets=1)
    with closing(Buckets(descriptor, 0)) as buckets:
        os.close(descriptor)
        for number in range(WAYS):
            buckets.count(buckets.find(buckets.slot(str(number)), 0), 1)
        with pytest.raises(Full):
            buckets.find(buckets.slot("one more"), 0)


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_worker_that_is_killed_while_it_holds_the_lock_stops_nobody() -> None:
    descriptor = make(2)
    held = multiprocessing.get_context("fork").Process(target=holding, args=(descriptor,))
    held.start()
    try:
        with closing(Admission(descriptor, 1)) as lives:
            time.sleep(0.1)
            os.kill(held.pid or 0, signal.SIGKILL)
            lives.enter("a", 1, 1)
    finally:
        held.join(10)
        held.close()
        os.close(descriptor)


def holding(descriptor: int) -> None:
    Buckets(descriptor, 0).lock()
    time.sleep(60)
