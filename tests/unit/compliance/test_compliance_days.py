"""The keys of the days in the hands of the writer: midnight, a revocation, and a day for which there is none."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from compliance.journal.certificates import certify, install, request, revoke
from compliance.journal.writer import Journal
from compliance.keys import KeyFault
from compliance.verify.keyring import Keyring
from compliance.verify.leaf import Epoch
from compliance.verify.note import Note
from compliance.verify.receipt import verify_receipt
from compliance.verify.statements import day_of
from tests.journals import JournalBox, epoch_leaves, heads_of, leaves, notes_of, opened, whole_call

DAY = 86_400 * 10**9


@dataclass
class Clock:
    """The time in nanoseconds since 1970, as the process sees it."""

    now: int

    def until_midnight(self) -> None:
        self.now = (self.now // DAY + 1) * DAY - 10**9


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock(time.time_ns())
    clock.now = clock.now // DAY * DAY + DAY // 2
    monkeypatch.setattr("time.time_ns", lambda: clock.now)
    return clock


@pytest.fixture
def book(tmp_path: Path, clock: Clock) -> JournalBox:
    """A box with an empty journal, at noon, with keys for today and tomorrow."""
    return JournalBox.make(tmp_path / "box")


def signers(box: JournalBox) -> list[bytes]:
    """The keys that signed the heads, in order."""
    keyring: Keyring = box.days.keyring()
    return [keyring.signer_of(Note.parsed(note[:-1])) for note in notes_of(box.heads)]


def test_at_midnight_the_next_key_signs_and_the_last_one_is_destroyed(book: JournalBox, clock: Clock) -> None:
    (_, today), (_, tomorrow) = book.days.keyring().days()
    journal = book.journal(durable=True)
    clock.until_midnight()
    first = journal.record("read", {}, "clinic")
    before = journal.receipt([first])
    assert book.days.path(day_of(clock.now), today).is_file()
    clock.now += 2 * 10**9
    after = journal.receipt([first, journal.record("read", {}, "clinic")])
    journal.checkpoint()
    assert [path.name[:10] for path in book.days.folder.iterdir()] == [str(day_of(clock.now))]
    for receipt in (before, after):
        verify_receipt(receipt, book.root.public)
    journal.close()
    assert signers(book)[0] == today
    assert signers(book)[-1] == tomorrow
    book.verify()


def signed_call(journal: Journal) -> None:
    opened(journal)
    journal.checkpoint()


def renew(box: JournalBox, clock: Clock) -> None:
    install(box.days, certify(request(box.days, clock.now, 2), box.root, day_of(clock.now)), clock.now)


@pytest.mark.parametrize("durable", [False, True])
def test_when_the_keys_have_run_out_nothing_runs_and_that_is_said(
    book: JournalBox, clock: Clock, durable: bool
) -> None:
    journal = book.journal(durable=durable)
    called = whole_call(journal)
    clock.now += 2 * DAY
    with pytest.raises(KeyFault) as failed:
        signed_call(journal)
    assert failed.value.code == "day_key_missing"
    assert "sealpress keys" in failed.value.hint
    before = book.log.read_bytes()
    for _ in range(3):
        with pytest.raises(KeyFault):
            opened(journal)
    assert book.log.read_bytes() == before
    with pytest.raises(KeyFault):
        journal.close()
    with pytest.raises(KeyFault):
        opened(book.journal(durable=durable))
    renew(book, clock)
    journal = book.journal(durable=durable)
    assert whole_call(journal) != called
    journal.close()
    assert book.verify().unsealed == 0


def test_a_clock_that_runs_far_ahead_signs_nothing(book: JournalBox, clock: Clock) -> None:
    """And destroys no key that is still needed when it is set right."""
    now = clock.now
    clock.now += 400 * DAY
    with pytest.raises(KeyFault) as failed:
        opened(book.journal())
    assert failed.value.code == "day_key_missing"
    clock.now = now
    journal = book.journal()
    whole_call(journal)
    journal.close()
    assert book.verify().allowed == 1


def test_a_clock_that_was_set_back_goes_on_at_the_time_of_the_last_head(book: JournalBox, clock: Clock) -> None:
    journal = book.journal()
    whole_call(journal)
    journal.close()
    last = heads_of(book.heads)[-1].at
    clock.now -= 5 * 3600 * 10**9
    journal = book.journal()
    assert opened(journal).call.at >= last
    journal.close()
    assert book.verify().allowed == 2
    assert [Epoch.parsed(leaf.content).at >= last for leaf in epoch_leaves(book)[1:]] == [True]


def test_a_revoked_key_is_replaced_at_the_next_head(book: JournalBox, clock: Clock) -> None:
    """In a running process, without a restart."""
    journal = book.journal()
    whole_call(journal)
    journal.checkpoint()
    old = signers(book)[-1]
    revocation = revoke(book.id, old, clock.now + 1, book.root)
    install(book.days, [revocation], clock.now)
    clock.now += 10
    with pytest.raises(KeyFault) as failed:
        signed_call(journal)
    assert failed.value.code == "day_key_missing"
    renew(book, clock)
    whole_call(journal)
    journal.checkpoint()
    new = signers(book)[-1]
    assert new != old
    journal.close()
    found = book.verify()
    assert (found.unsealed, found.gaps) == (0, 0)


def test_a_key_that_nobody_certified_does_not_sign(book: JournalBox, clock: Clock) -> None:
    for day, key in book.days.keyring().days():
        book.days.path(day, key).unlink()
    book.days.make(day_of(clock.now))
    with pytest.raises(KeyFault) as failed:
        opened(book.journal())
    assert failed.value.code == "day_key_missing"
    assert leaves(book.log) == []
