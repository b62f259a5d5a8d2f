"""What is recorded, and what is refused before anything is written."""

from __future__ import annotations

import base64
import os
import shutil
import time
from pathlib import Path
from threading import Thread

import pytest

from compliance.crypto import Opener, Signer
from compliance.journal import writer
from compliance.journal.errors import JournalError
from compliance.journal.genesis import create
from compliance.journal.records import Closed, Noted, Opened
from compliance.keys import KeyFault, write_key
from compliance.state.errors import StateError
from compliance.state.salts import Salts
from compliance.verify.leaf import ALLOWED, CLOSED, EPOCH, NOBODY, NOTED, Epoch
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
    heads_of,
    leaves,
    opened,
    refused,
    whole_call,
)


@pytest.fixture
def book(tmp_path: Path) -> JournalBox:
    """A box with an empty journal."""
    return JournalBox.make(tmp_path / "box")


def every_file(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_journal_is_made_once(book: JournalBox) -> None:
    before = every_file(book.folder)
    with pytest.raises(JournalError) as failed:
        create(book.directory, Signer.generate(), Signer.generate(), [], "00" * 16, time.time_ns())
    assert failed.value.code == "journal_exists"
    with pytest.raises(StateError):
        Salts.create(book.salts)
    assert every_file(book.folder) == before


def test_only_the_owner_reads_what_is_made(book: JournalBox) -> None:
    journal = book.journal()
    whole_call(journal)
    journal.close()
    made = [*book.directory.glob("shard-000.*"), *book.salts.parent.iterdir()]
    assert len(made) > 5
    assert [path for path in made if path.stat().st_mode & 0o077] == []


def test_a_missing_journal_is_not_made_again(book: JournalBox) -> None:
    journal = book.journal()
    shutil.rmtree(book.directory)
    with pytest.raises(KeyFault):
        opened(journal)
    assert not book.directory.exists()


def test_without_the_salts_nothing_is_recorded_and_no_table_is_made(book: JournalBox) -> None:
    book.salts.unlink()
    journal = book.journal()
    with pytest.raises(StateError) as failed:
        opened(journal)
    assert failed.value.code == "state_missing"
    journal.close()
    assert not book.salts.exists()
    assert book.verify().allowed == 0


@pytest.mark.parametrize("durable", [False, True])
def test_the_epoch_changes_with_the_number_of_records(
    book: JournalBox, durable: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where several records are written at once."""
    monkeypatch.setattr(writer, "EPOCH_RECORDS", 5)
    journal = book.journal(durable=durable)
    threads = [Thread(target=lambda: [whole_call(journal) for _ in range(5)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    journal.close()
    epochs = epoch_leaves(book)
    assert [leaf.epoch for leaf in epochs] == list(range(1, len(epochs) + 1))
    assert 40 / 9 <= len(epochs) <= 40 / 5 + 1
    assert len(book.read()) == 40


def test_the_epoch_changes_with_time(book: JournalBox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "EPOCH_SECONDS", 0)
    journal = book.journal()
    whole_call(journal)
    time.sleep(0.01)
    whole_call(journal)
    journal.close()
    assert len(epoch_leaves(book)) >= 2


def test_no_epoch_is_older_than_a_head_before_it(book: JournalBox, monkeypatch: pytest.MonkeyPatch) -> None:
    """A head speaks of the time at which its records were counted, however long they then take to be synced."""
    monkeypatch.setattr(writer, "EPOCH_RECORDS", 1)
    monkeypatch.setattr(writer, "HEAD_SECONDS", 0.0)
    monkeypatch.setattr(os, "fdatasync", lambda _: time.sleep(0.003))
    journal = book.journal()
    until = time.monotonic() + 0.3
    while time.monotonic() < until:
        refused(journal)
    journal.close()
    assert len(heads_of(book.heads)) > 5
    assert book.verify().unsealed == 0


def test_each_epoch_is_sealed_to_all_auditors_of_that_time(book: JournalBox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "EPOCH_RECORDS", 2)
    second = Opener.generate()
    (first_file,) = book.auditors.folder.iterdir()
    second_file = book.auditors.folder / "second.pub"
    journal = book.journal()
    whole_call(journal, "for the first")
    write_key(second_file, "auditor-public", second.public)
    whole_call(journal, "for both")
    first_file.unlink()
    whole_call(journal, "for the second")
    journal.close()
    assert [len(Epoch.parsed(leaf.content).sealed) for leaf in epoch_leaves(book)] == [1, 2, 1]
    read = {opener: [record.payload for record in book.read(opener)] for opener in (book.opener, second)}
    texts = [Payload(value=f"for {whom}") for whom in ("the first", "both", "the second")]
    assert [[text in payloads for text in texts] for payloads in read.values()] == [
        [True, True, False],
        [False, True, True],
    ]
    second_file.unlink()
    with pytest.raises(KeyFault) as failed:
        whole_call(book.journal())
    assert failed.value.code == "auditor_missing"


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


def test_two_who_close_a_call_at_once_write_one_outcome(book: JournalBox, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = book.journal(durable=True)
    monkeypatch.setattr(os, "fdatasync", lambda _: time.sleep(0.02))
    entry = opened(journal)
    outcomes: list[object] = []

    def close() -> None:
        try:
            outcomes.append(journal.closed(entry, DONE))
        except Failed as failed:
            outcomes.append(failed.code)

    threads = [Thread(target=close) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    journal.close()
    assert outcomes.count("internal") == 3
    assert book.verify().closed == 1


def test_a_record_too_large_for_the_verifier_is_not_written(book: JournalBox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "MAX_CONTENT", 5000)
    journal = book.journal()
    whole_call(journal)
    before = book.log.read_bytes()
    with pytest.raises(InputError) as failed:
        opened(journal, "x" * 5000)
    assert failed.value.code == "input_too_large"
    assert book.log.read_bytes() == before
    whole_call(journal)
    journal.close()
    assert book.verify().allowed == 2


def test_the_largest_record_that_is_written_is_read(book: JournalBox) -> None:
    journal = book.journal()
    blob = bytes(writer.MAX_CONTENT - 2000)
    entry = journal.opened(a_call(journal), MODEL, YES, Payload(value=None, blobs={"t": blob}))
    journal.closed(entry, DONE)
    journal.close()
    assert book.verify().records == 3
    (record, _) = book.read()
    assert record.payload == Payload(value=None, blobs={"t": blob})


@pytest.mark.parametrize("value", ["\ud800", object(), {1j: 1}, float])
def test_what_cannot_be_encoded_is_not_written(book: JournalBox, value: object) -> None:
    journal = book.journal()
    whole_call(journal)
    before = book.log.read_bytes()
    with pytest.raises((TypeError, UnicodeEncodeError)):
        journal.opened(a_call(journal), MODEL, YES, Payload(value=value))
    assert book.log.read_bytes() == before
    whole_call(journal)
    journal.close()
    assert book.verify().allowed == 2


def test_records_of_one_length_class_have_one_length(book: JournalBox) -> None:
    journal = book.journal()
    for length in range(0, 60, 4):
        opened(journal, "x" * length)
    journal.close()
    lengths = {len(body) for body, leaf in zip(bodies(book.log), leaves(book.log), strict=True) if leaf.kind == ALLOWED}
    assert len(lengths) <= 3


def test_a_subject_stands_under_a_pseudonym(book: JournalBox) -> None:
    journal = book.journal()
    for subject in ("patient-7", "patient-7", "patient-8", None):
        opened(journal, subject=subject)
    journal.close()
    names = [record.metadata.call.subject for record in book.read() if isinstance(record.metadata, Opened)]
    assert names[0] == names[1] != names[2]
    assert names[3] is None
    assert [name for name in names if name and "patient" in name] == []


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
    clock = 10**18
    with pytest.raises(KeyFault) as failed:
        book.days.signer(clock)  # there is no key for that day, and none is asked for
    assert failed.value.code == "day_key_missing"
    journal = book.journal()
    assert journal.now() >= now
    entry = opened(journal)
    assert entry.call.at >= now
    journal.closed(entry, DONE)
    clock = now + 5
    assert journal.now() == now + 5
    journal.close()
    assert book.verify().heads["shard-000"].at == now + 5
    times = [
        metadata.call.at if isinstance(metadata, Opened) else metadata.at
        for record in book.read()
        if (metadata := record.metadata) is not None
    ]
    assert times == sorted(times)


def test_a_canary_stands_nowhere_on_disk_and_in_no_message(book: JournalBox) -> None:
    canary, subject = "zwitscher-7f3a91", "patient-5ce20d"
    journal = book.journal()
    entry = journal.opened(
        a_call(journal, subject=subject), MODEL, YES, Payload.checked({canary: [canary]}, {canary: canary.encode()})
    )
    journal.noted(entry, "chunk", {canary: canary})
    journal.record("loaded", {canary: canary}, "clinic")
    written = journal.closed(entry, DONE)
    with pytest.raises(Failed) as failed:
        journal.closed(entry, DONE)
    shown = f"{entry!r} {failed.value!r} {failed.value.hint} {journal!r} {written!r} {journal.receipt(written)!r}"
    journal.close()
    os.truncate(book.log, book.log.stat().st_size - 1)
    with pytest.raises(JournalError) as broken:
        journal.now()
    shown += f" {book.failures()} {broken.value!r}"
    for word in (canary, subject):
        raw = word.encode()
        forms = [raw, raw.hex().encode(), raw[::-1], word.encode("utf-16-le")]
        # base64 of the word at each of the three places where it may stand in a group
        forms += [base64.b64encode(b"\0" * i + raw)[4 if i else 0 : -4] for i in range(3)]
        files = every_file(book.folder)
        assert len(files) >= 10
        assert [(path.name, form) for path, data in files.items() for form in forms if form in data] == []
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


def test_a_record_says_to_which_call_it_belongs(book: JournalBox) -> None:
    journal = book.journal()
    entry = opened(journal)
    journal.noted(entry, "chunk", {"tokens": 1})
    journal.record("read", {"records": 1}, "clinic")
    journal.closed(entry, DONE)
    journal.close()
    found = leaves(book.log)
    assert [leaf.kind for leaf in found] == [EPOCH, ALLOWED, NOTED, NOTED, CLOSED]
    assert [(leaf.of_shard, leaf.of_sequence) for leaf in found] == [NOBODY, NOBODY, (0, 1), NOBODY, (0, 1)]
    assert [type(record.metadata) for record in book.read()] == [Opened, Noted, Noted, Closed]


def test_heads_count_what_was_refused_by_which_rule_and_what_was_used(book: JournalBox) -> None:
    journal = book.journal()
    whole_call(journal)
    refused(journal)
    refused(journal)
    journal.checkpoint()
    opened(journal)
    journal.close()
    last = heads_of(book.heads)[-1]
    assert (last.size, last.allowed, last.refused, last.closed, last.destroyed) == (6, 2, 2, 1, 0)
    assert (last.rules, last.usage) == ({"base.purpose": 2}, {"-/texts": 1})
    assert [head.size for head in heads_of(book.heads)] == [0, 5, 6]
