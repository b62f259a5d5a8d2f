"""Receipts: a promise at once, which is kept, and a proof once the records are synced."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from compliance.journal.errors import NotReadable
from compliance.journal.receipts import Written
from compliance.verify.errors import NotVerified
from compliance.verify.receipt import Receipt, check_promise, verify_receipt
from compliance.verify.statements import Head, Promise
from tests.journals import DONE, JournalBox, bodies, heads_of, notes_of, opened, whole_call


@pytest.fixture
def book(tmp_path: Path) -> JournalBox:
    """A box with an empty journal."""
    return JournalBox.make(tmp_path / "box")


def places(written: Sequence[Written]) -> list[tuple[int, int]]:
    return [one[:2] for one in written]


def verified(box: JournalBox, data: bytes, head: str | None = None) -> Receipt:
    return verify_receipt(data, box.root.public, head)


def test_a_promise_is_kept_and_redeemed(book: JournalBox) -> None:
    journal = book.journal()
    written = journal.closed(opened(journal), DONE)
    promise = verified(book, journal.receipt(written))
    assert isinstance(promise.statement, Promise)
    assert [(record.shard, record.sequence, record.leaf) for record in promise.records] == list(map(tuple, written))
    with pytest.raises(NotReadable) as early:
        journal.redeemed(places(written))
    assert early.value.code == "record_unsigned"
    journal.checkpoint()
    whole_call(journal)
    check_promise(book.directory, promise)
    proof = verified(book, journal.redeemed(places(written)), notes_of(book.heads)[-1][:-1])
    assert isinstance(proof.statement, Head)
    assert [record.leaf for record in proof.records] == [record.leaf for record in promise.records]
    journal.close()
    assert proof.statement in heads_of(book.heads)


@pytest.mark.parametrize("calls", [1, 2, 3, 4, 9])
def test_the_durable_class_gives_proofs_at_once(book: JournalBox, calls: int) -> None:
    journal = book.journal(durable=True)
    given = [journal.receipt(journal.closed(opened(journal), DONE)) for _ in range(calls)]
    for number, data in enumerate(given):
        head = verified(book, data).statement
        assert isinstance(head, Head)
        assert (head.size, head.allowed) == (3 + 2 * number, number + 1)
    journal.close()
    for data in given:
        receipt = verified(book, data)
        check_promise(book.directory, receipt)
        book.verify(head=receipt.note)


def test_a_promise_outlives_a_restart_and_is_redeemed_by_another_process(book: JournalBox) -> None:
    journal = book.journal()
    given = [journal.closed(opened(journal), DONE) for _ in range(3)]
    promises = [journal.receipt(written) for written in given]
    journal._let_go()  # killed
    journal.close()
    journal = book.journal()
    journal.now()
    for written, promise in zip(given, promises, strict=True):
        assert isinstance(verified(book, promise).statement, Promise)
        assert isinstance(verified(book, journal.redeemed(places(written))).statement, Head)
    journal.close()


def test_every_record_of_a_long_journal_is_proved(book: JournalBox) -> None:
    journal = book.journal()
    for _ in range(20):
        whole_call(journal)
    journal.close()
    count = len(bodies(book.log))
    for sequence in range(count):
        verified(book, journal.redeemed([(0, sequence)]))
    everything = verified(book, journal.redeemed([(0, sequence) for sequence in range(count)]))
    assert len(everything.records) == count == 41


def test_records_of_two_shards_are_promised_and_proved_one_by_one(book: JournalBox) -> None:
    """A call that another process ends has a record in each."""
    journal = book.journal()
    entry = opened(journal)
    journal.close()
    other = book.journal()
    opened(other)
    written = journal.closed(entry, DONE)
    assert {one.shard for one in written} == {0, 1}
    assert isinstance(verified(book, journal.receipt(written)).statement, Promise)
    for each in (journal, other):
        each.close()
    with pytest.raises(NotReadable):
        journal.redeemed(places(written))
    for place in places(written):
        verified(book, journal.redeemed([place]))


@pytest.mark.parametrize("place", [(0, 3), (0, 2**40), (1, 0), (999, 0)])
def test_what_is_not_there_is_not_proved(book: JournalBox, place: tuple[int, int]) -> None:
    journal = book.journal()
    whole_call(journal)
    journal.close()
    with pytest.raises(NotReadable) as refused:
        journal.redeemed([place])
    assert refused.value.code == "record_unsigned"


def test_a_receipt_bears_the_certificate_of_the_key_that_signed(book: JournalBox) -> None:
    journal = book.journal(durable=True)
    data = journal.receipt([journal.record("read", {}, "clinic")])
    journal.close()
    receipt = json.loads(data)
    assert receipt["certificate"] in book.directory.joinpath("certificates.notes").read_text("utf-8")
    stranger = JournalBox.make(book.folder / "stranger")
    with pytest.raises(NotVerified) as refused:
        verify_receipt(data, stranger.root.public)
    assert refused.value.code == "receipt_certificate"
