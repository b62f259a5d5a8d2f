"""The class `durable`: nothing is acknowledged before it is synced, many wait for one sync, nobody waits for good."""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from threading import Event, Thread

import pytest

from compliance.journal.errors import JournalError
from compliance.keys import KeyFault
from compliance.verify.leaf import CLOSED
from policies.errors import Failed
from tests.journals import DONE, JournalBox, call_ids, leaves, opened, whole_call


@pytest.fixture
def book(tmp_path: Path) -> JournalBox:
    """A box with an empty journal."""
    return JournalBox.make(tmp_path / "box")


def instead_of_fdatasync(patch: pytest.MonkeyPatch, log: Path, work: Callable[[], None]) -> None:
    """Do this work before each sync of a log."""
    real = os.fdatasync

    def standing_in(descriptor: int) -> None:
        if Path(f"/proc/self/fd/{descriptor}").readlink() == log:
            work()
        real(descriptor)

    patch.setattr(os, "fdatasync", standing_in)


def test_nothing_is_acknowledged_before_it_is_synced(book: JournalBox, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = book.journal(durable=True)
    whole_call(journal)
    reached, let = Event(), Event()

    def held() -> None:
        reached.set()
        assert let.wait(30)

    instead_of_fdatasync(monkeypatch, book.log, held)
    ids: list[str] = []
    thread = Thread(target=lambda: ids.append(whole_call(journal)))
    thread.start()
    assert reached.wait(30)
    assert len(leaves(book.log)) == 4  # it is written, and that is not enough
    thread.join(0.1)
    assert thread.is_alive()
    assert ids == []
    let.set()
    thread.join(30)
    assert len(ids) == 1
    journal.close()
    assert book.verify().allowed == 2


def test_many_wait_for_one_sync(book: JournalBox, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = book.journal(durable=True)
    whole_call(journal)
    syncs: list[float] = []

    def slow() -> None:
        syncs.append(time.monotonic())
        time.sleep(0.002)

    instead_of_fdatasync(monkeypatch, book.log, slow)
    ids: set[str] = set()
    threads = [Thread(target=lambda: ids.update({whole_call(journal) for _ in range(10)})) for _ in range(32)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(ids) == 320
    assert len(syncs) < 640 / 5
    journal.close()
    assert ids < call_ids(book.read())[1]


def test_a_record_that_cannot_be_synced_is_not_acknowledged(book: JournalBox, monkeypatch: pytest.MonkeyPatch) -> None:
    """And its call is not closed a second time, since the record may stand in the log."""
    journal = book.journal(durable=True)
    entry = opened(journal)

    def broken() -> None:
        raise OSError(errno.EIO, "input/output error")

    with monkeypatch.context() as patch:
        instead_of_fdatasync(patch, book.log, broken)
        for _ in range(2):
            with pytest.raises(JournalError) as failed:
                opened(journal)
            assert failed.value.code == "journal_write"
    with monkeypatch.context() as patch:
        whole_call(journal)
        instead_of_fdatasync(patch, book.log, broken)
        with pytest.raises(JournalError):
            journal.closed(entry, DONE)
    with pytest.raises(Failed) as again:
        journal.closed(entry, DONE)
    assert again.value.code == "internal"
    journal.close()
    assert book.verify().unsealed == 0
    assert [leaf.kind for leaf in leaves(book.log)].count(CLOSED) == 2


def test_a_record_that_was_refused_is_not_written_later(book: JournalBox) -> None:
    (key,) = book.auditors.folder.iterdir()
    aside = key.rename(book.folder / key.name)
    journal = book.journal(durable=True)
    with pytest.raises(KeyFault) as failed:
        opened(journal)
    assert failed.value.code == "auditor_missing"
    aside.rename(key)
    called = whole_call(journal)
    journal.close()
    assert call_ids(book.read()) == ({called}, {called})


def test_an_error_inside_reaches_who_waits(book: JournalBox, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = book.journal(durable=True)
    whole_call(journal)

    def broken() -> None:
        raise ZeroDivisionError

    with monkeypatch.context() as patch:
        instead_of_fdatasync(patch, book.log, broken)
        with pytest.raises(Failed) as failed:
            opened(journal)
        assert failed.value.code == "internal"
    whole_call(journal)
    journal.close()
    assert book.verify().unsealed == 0


def test_who_waits_while_the_journal_is_closed_is_told(book: JournalBox, monkeypatch: pytest.MonkeyPatch) -> None:
    before = threading.active_count()
    journal = book.journal(durable=True)
    whole_call(journal)
    instead_of_fdatasync(monkeypatch, book.log, lambda: time.sleep(0.005))
    ids: set[str] = set()
    threads = [Thread(target=lambda: ids.update({whole_call(journal) for _ in range(8)})) for _ in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        journal.close()
        time.sleep(0.005)
    for thread in threads:
        thread.join(30)
    journal.close()
    assert len(ids) == 32
    assert ids < call_ids(book.read())[1]
    assert book.verify().unsealed == 0
    assert threading.active_count() <= before
