"""What is recorded, and what is refused before anything is written."""

from __future__ import annotations

import base64
import os
import time
from pathlib import Path

import pytest

from compliance.crypto import Sealer, Signer
from compliance.journal import writer
from compliance.journal.errors import JournalError
from compliance.journal.records import Noted, Opened
from compliance.journal.writer import Journal, create
from compliance.state.salts import StateError
from compliance.verify.leaf import ALLOWED, MAX_BODY
from policies.errors import Failed
from policies.payload import InputError, Payload
from tests.journals import (
    DONE,
    MODEL,
    YES,
    JournalBox,
    a_call,
    bodies,
    epoch_leaves,
    forged_heads,
    leaves,
    notes_of,
    opened,
    refused,
    whole_call,
)


@pytest.fixture
def book(tmp_path: Path) -> JournalBox:
    """A box with an empty journal."""
    return JournalBox.make(tmp_path / "box")


def test_a_journal_is_made_once(book: JournalBox, tmp_path: Path) -> None:
    before = {path: path.read_bytes() for path in book.folder.rglob("*") if path.is_file()}
    for directory, salts in ((book.directory, tmp_path / "new.sqlite"), (tmp_path / "new", book.salts)):
        with pytest.raises(JournalError) as failed:
            create(directory, book.signer, salts)
        assert failed.value.code == "journal_exists"
    assert {path: path.read_bytes() for path in book.folder.rglob("*") if path.is_file()} == before
    assert {path.name for path in tmp_path.iterdir()} == {"box"}


def test_only_the_owner_reads_what_is_made(book: JournalBox) -> None:
    journal = book.journal()
    whole_call(journal)
    journal.close()
    for path in (book.log, book.heads, book.salts):
        assert path.stat().st_mode & 0o777 == 0o600


def test_a_missing_journal_is_not_made_again(book: JournalBox) -> None:
    for path in book.directory.iterdir():
        path.unlink()
    for _ in range(2):
        with pytest.raises(JournalError) as failed:
            book.journal()
        assert failed.value.code == "journal_missing"
        book.directory.rmdir() if book.directory.exists() else None
    assert not book.directory.exists()


def test_a_journal_of_another_signer_is_refused(book: JournalBox) -> None:
    with pytest.raises(JournalError) as failed:
        Journal(book.directory, Signer.generate(), Sealer(book.opener.public), book.salts)
    assert failed.value.code == "journal_foreign"


def test_without_the_salts_nothing_is_recorded_and_no_table_is_made(book: JournalBox) -> None:
    book.salts.unlink()
    journal = book.journal()
    with pytest.raises(StateError) as failed:
        opened(journal)
    assert failed.value.code == "state_missing"
    journal.close()
    assert not book.salts.exists()
    assert book.verify().allowed == 0


def test_the_epoch_changes_with_the_number_of_records_and_with_time(
    book: JournalBox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "EPOCH_RECORDS", 4)
    journal = book.journal()
    for _ in range(4):
        whole_call(journal)
    assert len(epoch_leaves(book)) == 2
    monkeypatch.setattr(writer, "EPOCH_RECORDS", 4096)
    monkeypatch.setattr(writer, "EPOCH_SECONDS", 0)
    whole_call(journal)
    time.sleep(0.01)
    whole_call(journal)
    journal.close()
    assert len(epoch_leaves(book)) >= 4
    assert [leaf.place.epoch for leaf in epoch_leaves(book)] == list(range(1, len(epoch_leaves(book)) + 1))
    assert len(book.read()) == 12


def test_a_call_is_closed_once_and_only_if_it_was_allowed(book: JournalBox) -> None:
    """A second outcome could not be verified, so it is not written."""
    journal = book.journal()
    entry = opened(journal)
    journal.closed(entry, DONE)
    for closed in (entry, refused(journal)):
        with pytest.raises(Failed) as failed:
            journal.closed(closed, DONE)
        assert failed.value.code == "internal"
    journal.close()
    book.verify()


def test_a_record_too_large_for_the_verifier_is_not_written(book: JournalBox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "MAX_BODY", 5000)
    journal = book.journal()
    whole_call(journal)
    before = book.log.stat().st_size
    with pytest.raises(InputError) as failed:
        opened(journal, "x" * 4000)
    assert failed.value.code == "input_too_large"
    assert book.log.stat().st_size == before
    whole_call(journal)
    journal.close()
    assert book.verify().allowed == 2


def test_the_largest_record_that_is_written_is_read(book: JournalBox) -> None:
    journal = book.journal()
    limit = MAX_BODY - writer.OVERHEAD
    size = limit // 4 * 3 - 3000
    entry = journal.opened(a_call(journal), MODEL, YES, Payload(value=None, blobs={"t": bytes(size)}))
    journal.closed(entry, DONE)
    journal.close()
    assert book.verify().records == 3
    assert len(bodies(book.log)[1]) > 0.99 * limit


@pytest.mark.parametrize("value", ["\ud800", object(), {1j: 1}, float])
def test_what_cannot_be_encoded_is_not_written(book: JournalBox, value: object) -> None:
    journal = book.journal()
    whole_call(journal)
    before = book.log.stat().st_size
    with pytest.raises((TypeError, UnicodeEncodeError)):
        journal.opened(a_call(journal), MODEL, YES, Payload(value=value))
    assert book.log.stat().st_size == before
    whole_call(journal)
    journal.close()
    assert book.verify().allowed == 2


def test_time_never_goes_back_also_not_over_a_restart(book: JournalBox, monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time_ns()
    clock = now
    monkeypatch.setattr("time.time_ns", lambda: clock)
    journal = book.journal()
    whole_call(journal)
    clock = now - 10**15
    assert journal.now() == now
    whole_call(journal)
    journal.close()
    clock = 0
    journal = book.journal()
    assert journal.now() >= now
    entry = opened(journal)
    assert entry.call.at >= now
    journal.closed(entry, DONE)
    clock = now + 5
    assert journal.now() == now + 5
    journal.close()
    heads = book.verify().heads
    assert heads["shard-000"].at == now + 5
    times = [
        record.metadata.call.at if isinstance(record.metadata, Opened) else record.metadata.at
        for record in book.read()
        if record.metadata
    ]
    assert times == sorted(times)


def test_a_canary_stands_nowhere_on_disk_and_in_no_message(book: JournalBox) -> None:
    canary, subject = "zwitscher-7f3a91", "patient-5ce20d"
    journal = book.journal()
    entry = journal.opened(
        a_call(journal, subject=subject), MODEL, YES, Payload.checked({canary: [canary]}, {canary: canary.encode()})
    )
    journal.noted(entry, "chunk", {canary: canary})
    journal.loaded("clinic", {canary: canary})
    journal.closed(entry, DONE)
    with pytest.raises(Failed) as failed:
        journal.closed(entry, DONE)
    shown = f"{entry!r} {failed.value!r} {failed.value.hint} {journal!r}"
    os.truncate(book.log, book.log.stat().st_size - 1)
    journal.close()
    shown += f" {book.failures()}"
    for word in (canary, subject):
        raw = word.encode()
        forms = [raw, raw.hex().encode(), raw[::-1], word.encode("utf-16-le")]
        # base64 of the word at each of the three places where it may stand in a group
        forms += [base64.b64encode(b"\0" * i + raw)[4 if i else 0 : -4] for i in range(3)]
        files = [path for path in book.folder.rglob("*") if path.is_file()]
        assert len(files) >= 7
        assert [(path.name, form) for path in files for form in forms if form in path.read_bytes()] == []
        assert [form for form in forms if form in shown.encode()] == []
    salt = entry.salt[1]
    assert salt.hex() not in shown
    assert repr(salt)[2:20] not in shown


def test_what_was_allowed_and_not_closed_is_said(book: JournalBox) -> None:
    journal = book.journal()
    opened(journal)
    whole_call(journal)
    journal.close()
    assert book.verify().unfinished == 1
    assert [leaf.place.kind for leaf in leaves(book.log)].count(ALLOWED) == 2


def test_a_note_is_read_with_the_call_it_belongs_to(book: JournalBox) -> None:
    journal = book.journal()
    entry = opened(journal)
    journal.noted(entry, "chunk", {"tokens": 1})
    journal.close()
    assert leaves(book.log)[2].place[4:6] == (entry.shard, entry.sequence)
    assert isinstance(book.read()[1].metadata, Noted)


def test_the_forging_of_these_tests_fits_what_the_journal_writes(book: JournalBox) -> None:
    journal = book.journal()
    whole_call(journal)
    journal.close()
    honest = notes_of(book.heads)[-1].split("\n")
    forged_heads(book, [3], at=int(honest[3].removeprefix("at ")))
    assert notes_of(book.heads)[0].split("\n") == honest
