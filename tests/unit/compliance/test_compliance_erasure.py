"""Erasure, holds and retention on a real journal: gone for all, told once, and every proof as it was."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from compliance.journal.erasure import due, erase, finish, hold, release, retain
from compliance.journal.records import Noted
from compliance.journal.writer import Journal
from compliance.state.disposition import Disposition, Group, Scope
from compliance.state.errors import HoldError
from compliance.state.salts import Salts
from compliance.verify.receipt import verify_receipt
from policies.errors import Fault
from tests.journals import OPENING, JournalBox, call_ids, ended, opened, script, whole_call

TENANT, SUBJECT = "clinic", "patient-7"


@pytest.fixture
def book(tmp_path: Path) -> JournalBox:
    """A box with an empty journal."""
    return JournalBox.make(tmp_path / "box")


@pytest.fixture
def journal(book: JournalBox) -> Iterator[Journal]:
    with closing(book.journal()) as journal:
        yield journal


@pytest.fixture
def disposition(book: JournalBox) -> Iterator[Disposition]:
    with Disposition.open(book.salts) as disposition:
        yield disposition


def notes_in(book: JournalBox, *kinds: str) -> list[dict[str, object]]:
    """What the journal tells of these kinds, as the auditor reads it."""
    found = [record.metadata for record in book.read()]
    return [note.data for note in found if isinstance(note, Noted) and note.kind in kinds]


def readable(book: JournalBox) -> set[str]:
    """The ids of the calls that the auditor can still read."""
    return call_ids(book.read())[0]


def test_the_erased_are_unreadable_to_the_auditor_and_every_proof_holds(
    book: JournalBox, journal: Journal, disposition: Disposition
) -> None:
    mine, theirs = (opened(journal, subject=subject).call.id for subject in (SUBJECT, "patient-8"))
    nobodys = whole_call(journal)
    journal.checkpoint()
    before = book.log.read_bytes()
    assert readable(book) == {mine, theirs, nobodys}

    done = erase(journal, disposition, TENANT, SUBJECT, "request 12")

    assert readable(book) == {theirs, nobodys}
    assert [record.record for record in book.read() if record.metadata is None] == ["shard-000/1"]
    assert book.log.read_bytes().startswith(before)
    assert book.verify().unsealed == 0
    assert done.erased.rows == 1
    receipt = verify_receipt(done.receipt, book.root.public, None)
    assert receipt is not None
    (told,) = notes_in(book, "erased")
    assert (told["ground"], told["rows"], told["releases"], told["backups"]) == ("request 12", 1, [], [])
    assert SUBJECT not in str(told)
    assert disposition.untold() == ()


def test_the_signed_heads_count_what_was_destroyed(
    book: JournalBox, journal: Journal, disposition: Disposition
) -> None:
    opened(journal, subject=SUBJECT)
    erase(journal, disposition, TENANT, SUBJECT, "asked")
    assert book.verify().heads["shard-000"].destroyed == 1


def test_a_subject_without_records_gets_a_receipt_for_nothing(
    book: JournalBox, journal: Journal, disposition: Disposition
) -> None:
    done = erase(journal, disposition, TENANT, "nobody", "asked")
    assert done.erased.rows == 0
    assert [told["rows"] for told in notes_in(book, "erased")] == [0]


def test_a_call_after_the_erasure_is_on_record_again(
    book: JournalBox, journal: Journal, disposition: Disposition
) -> None:
    opened(journal, subject=SUBJECT)
    erase(journal, disposition, TENANT, SUBJECT, "asked")
    again = opened(journal, subject=SUBJECT).call.id
    journal.checkpoint()
    assert readable(book) == {again}


def test_a_held_subject_stays_until_the_hold_is_released(
    book: JournalBox, journal: Journal, disposition: Disposition
) -> None:
    call = opened(journal, subject=SUBJECT).call.id
    held, rows = hold(journal, disposition, TENANT, Scope(subject=SUBJECT), "court order")
    assert rows == 1
    with pytest.raises(HoldError) as refused:
        erase(journal, disposition, TENANT, SUBJECT, "asked")
    assert refused.value.code == "subject_held"
    assert readable(book) == {call}
    assert notes_in(book, "erased") == []

    release(journal, disposition, TENANT, held)
    erase(journal, disposition, TENANT, SUBJECT, "asked")

    assert readable(book) == set()
    told = notes_in(book, "held", "hold_released")
    assert told == [
        {
            "hold": held,
            "ground": "court order",
            "rows": 1,
            "subject": True,
            "class": None,
            "purpose": None,
            "month": None,
        },
        {"hold": held},
    ]


GROUPS = tuple(Group("infer", purpose, month, 1, 0) for purpose in ("search", "gone", "") for month in ("2025-11", ""))


@pytest.mark.parametrize(
    ("when", "days", "default", "gone"),
    [
        ("2025-12-30T23:59:59", {"search": 30}, None, set()),
        ("2025-12-31T00:00:00", {"search": 30}, None, {"search"}),
        ("2025-11-30T23:59:59", {"search": 0}, 0, set()),
        ("2025-12-01T00:00:00", {"search": 0}, None, {"search"}),
        ("2025-12-31T00:00:00", {"search": 31}, 30, {"gone", ""}),
        ("2026-12-31T00:00:00", {}, None, set()),
        ("2026-12-31T00:00:00", {"search": 10**9}, 1, {"gone", ""}),
    ],
)
def test_a_group_is_due_when_its_days_after_the_month_are_over(
    when: str, days: dict[str, int], default: int | None, gone: set[str]
) -> None:
    at = int(datetime.fromisoformat(when).replace(tzinfo=UTC).timestamp()) * 10**9
    found = due(GROUPS, days, default, at)
    assert {group.purpose for group in found} == gone
    assert {group.month for group in found} <= {"2025-11"}


def test_a_december_ends_with_the_year() -> None:
    at = int(datetime(2026, 1, 1, tzinfo=UTC).timestamp()) * 10**9
    december = [Group("infer", "search", "2025-12", 1, 0)]
    assert due(december, {}, 0, at - 1) == ()
    assert due(december, {}, 0, at) == tuple(december)


def test_retention_destroys_what_is_due_and_not_held(
    book: JournalBox, journal: Journal, disposition: Disposition
) -> None:
    call = opened(journal).call.id
    with closing(Salts(book.salts)) as salts:
        old = [
            salts.for_call(TENANT, subject, "infer", "search", month)[0]
            for subject in ("", SUBJECT)
            for month in ("2024-01", "2024-02")
        ]
        hold(journal, disposition, TENANT, Scope(subject=SUBJECT, month="2024-02"), "court order")
        gone = retain(journal, disposition, TENANT, {"search": 30}, None)
        assert [salts.salt(row) is None for row in old] == [True, True, True, False]
    assert gone == (Group("infer", "search", "2024-01", 2, 0), Group("infer", "search", "2024-02", 1, 1))
    (told,) = notes_in(book, "retained")
    assert (told["rows"], told["groups"]) == (3, msgspec.to_builtins(list(gone)))
    assert readable(book) == {call}


def test_nothing_is_destroyed_where_the_journal_cannot_be_written(book: JournalBox, disposition: Disposition) -> None:
    with closing(Salts(book.salts)) as salts:
        row, salt = salts.for_call(TENANT, SUBJECT, "infer", "search", "2025-11")
        journal = book.journal()
        book.log.mkdir()  # no shard can be begun
        with pytest.raises(Fault):
            erase(journal, disposition, TENANT, SUBJECT, "asked")
        assert salts.salt(row) == salt
    assert disposition.untold() == ()


DYING = (
    OPENING
    + """
from compliance.journal import erasure
from compliance.state.disposition import Disposition
opened(journal, subject="patient-7")
with Disposition.open(box.salts) as disposition:
    if sys.argv[2] == "before":
        journal.record = lambda *arguments: os._exit(0)
    else:
        disposition.told = lambda act: os._exit(0)
    erasure.erase(journal, disposition, "clinic", "patient-7", "asked")
"""
)


@pytest.mark.parametrize("moment", ["before", "after"])
def test_what_a_process_did_that_died_is_told_by_the_next(book: JournalBox, moment: str) -> None:
    assert ended(script(DYING, book.folder, Path(moment))) == ""
    with closing(book.journal()) as journal, Disposition.open(book.salts) as disposition:
        finish(journal, disposition)
        assert disposition.untold() == ()
    told = notes_in(book, "erased")
    # after the leaf, before the outbox: told again, under the same id
    assert len(told) == (1 if moment == "before" else 2)
    assert {note["erasure"] for note in told} == {told[0]["erasure"]}
    assert readable(book) == set()
    assert book.verify().heads["shard-000"].destroyed == 1
