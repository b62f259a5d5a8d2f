"""Whatever becomes of the bytes of a journal, verification says where, and for the reason that belongs to the place."""

from __future__ import annotations

import functools
import os
import random
from bisect import bisect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate
from pathlib import Path

import pytest

from compliance.crypto import verify
from compliance.verify.journal import NotVerified, verify_journal
from compliance.verify.leaf import EPOCH, FRAME, GAP, HEADER
from tests.forge import log_of, notes_file
from tests.vectors.mutations import HEADS, LOG, changed, sixty_records

Failures = list[tuple[str, str]]
GENESIS, CERTIFICATES, JOINT = "journal.note", "certificates.notes", "journal.heads"
# to choose mutations
SOURCE = random.Random(1)  # noqa: S311 - no key comes from it
# where a file of notes is refused whose bytes were changed, and for what
NOTES = {
    GENESIS: ("journal.note", {"genesis_signature"}),
    CERTIFICATES: ("certificate 0", {"certificate_invalid", "certificate_truncated"}),
    JOINT: ("joint ", {"joint_signature", "joint_truncated"}),
    HEADS: ("shard-000 head ", {"head_signature", "head_truncated"}),
}
IN_THE_LOG = {"record_check", "record_length", "record_truncated"}
EMPTY = [
    ("journal.note", "genesis_signature"),
    ("joint 0", "joint_signature"),  # no certificate, so that nobody may sign
    ("journal.heads", "joint_missing"),
    ("shard-000 head 0", "head_missing"),
]


class Written:
    """A journal in a folder, changed in place."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.forge, self.shard = sixty_records()
        self.files = self.forge.files()
        self.forge.write(folder)
        self.ends = list(accumulate(len(body) + FRAME for body in self.shard.bodies))

    def failures(self, head: str | None = None) -> Failures:
        try:
            verify_journal(self.folder, self.forge.root.public, head=head)
        except NotVerified as refusal:
            return [(failure.place, failure.code) for failure in refusal.failures]
        return []

    @contextmanager
    def changed(self, name: str, changes: Sequence[tuple[int, bytes]]) -> Iterator[None]:
        """The file with some bytes at some offsets, for as long as it is looked at."""
        file = os.open(self.folder / name, os.O_WRONLY)
        try:
            for offset, new in changes:
                os.pwrite(file, new, offset)
            yield
            for offset, new in changes:
                os.pwrite(file, self.files[name][offset : offset + len(new)], offset)
        finally:
            os.close(file)

    @contextmanager
    def replaced(self, name: str, data: bytes) -> Iterator[None]:
        (self.folder / name).write_bytes(data)
        yield
        (self.folder / name).write_bytes(self.files[name])

    def record_at(self, offset: int) -> tuple[int, int]:
        """The record that a byte of the log belongs to, and where its frame begins."""
        number = bisect(self.ends, offset)
        return number, self.ends[number - 1] if number else 0


@pytest.fixture
def journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Written:
    # a mutation leaves most signatures as they are, and checking those again would be most of its time
    monkeypatch.setattr("compliance.verify.note.verify", functools.cache(verify))
    written = Written(tmp_path / "journal")
    assert written.failures() == []
    return written


@pytest.mark.slow
def test_every_byte_of_the_log(journal: Written) -> None:
    """In what frames a record, several values; in its content, which a hash covers, the least change there is."""
    for offset, old in enumerate(journal.files[LOG]):
        number, start = journal.record_at(offset)
        reasons = {"record_check"} if offset >= start + 4 else {"record_check", "record_length", "record_truncated"}
        for new in _values(old) if offset < start + FRAME else {old ^ _bit()}:
            with journal.changed(LOG, [(offset, bytes([new]))]):
                ((place, code),) = journal.failures()
            assert place == f"shard-000/{number}", (offset, new, code)
            assert code in reasons, (offset, new)


@pytest.mark.slow
def test_every_byte_of_every_header_in_a_frame_that_fits(journal: Written) -> None:
    """And some of the content. Whoever can compute a hash repairs the check; then the record tells, or the tree."""
    for number, body in enumerate(journal.shard.bodies):
        start = journal.ends[number] - len(body) - FRAME
        for offset in (*range(HEADER + 28), *range(HEADER + 28, len(body), 16)):
            framed = log_of([changed(body, offset, bytes([body[offset] ^ _bit()]))])
            with journal.changed(LOG, [(start, framed)]):
                ((place, code),) = journal.failures()
            assert code in _reasons(body[1], offset), (number, offset, place)
            if code.startswith("head"):
                assert place == "shard-000 head 1", (number, offset)
            elif code not in {"record_of", "record_time"}:  # which show at a later record
                assert place.startswith("shard-000/"), (number, offset)


def test_every_byte_of_every_note(journal: Written) -> None:
    for name in NOTES:
        for offset, old in enumerate(journal.files[name]):
            for new in _values(old):
                with journal.changed(name, [(offset, bytes([new]))]):
                    _check_reason(name, journal.failures())


@pytest.mark.slow
def test_ten_thousand_changes_of_many_bytes(journal: Written) -> None:
    names = (*NOTES, *[LOG] * 6)
    for _ in range(10_000):
        name = SOURCE.choice(names)
        data = journal.files[name]
        changes = [(SOURCE.randrange(len(data)), SOURCE.randbytes(SOURCE.randint(1, 40))) for _ in range(4)]
        changes = [(offset, new[: len(data) - offset]) for offset, new in changes]
        with journal.changed(name, changes):
            _check_reason(name, journal.failures())


@pytest.mark.slow
def test_a_cut_at_every_offset_of_the_log(journal: Written) -> None:
    """Within a record it shows. Between two it shows in what was signed of the rest, here or outside."""
    outside, ends = journal.shard.heads[1], {0, *journal.ends}
    begun = notes_file([journal.forge.joint(shards=())])
    with journal.replaced(HEADS, notes_file(journal.shard.heads[:1])), journal.replaced(JOINT, begun):
        for size in reversed(range(len(journal.files[LOG]))):
            os.truncate(journal.folder / LOG, size)
            number, _ = journal.record_at(size)
            if size in ends:
                assert journal.failures() == []
                assert journal.failures(outside) == [("head", "given_missing")]
            else:
                assert journal.failures() == [(f"shard-000/{number}", "record_truncated")]


def test_a_cut_between_any_two_records_below_a_head(journal: Written) -> None:
    for number, end in reversed(list(enumerate(journal.ends[:-1], start=1))):
        os.truncate(journal.folder / LOG, end)
        assert journal.failures() == [(f"shard-000/{number}", "record_missing")]


def test_a_cut_at_every_offset_of_every_note(journal: Written) -> None:
    first = len(notes_file(journal.shard.heads[:1]))
    for name in NOTES:
        with journal.replaced(name, journal.files[name]):
            for size in reversed(range(len(journal.files[name]))):
                os.truncate(journal.folder / name, size)
                failures = journal.failures()
                if (name, size) == (HEADS, first):
                    # only the counters of the head are lost: the joint head signs the records too
                    assert failures == []
                elif size == 0:
                    assert failures[0] in EMPTY
                else:
                    _check_reason(name, failures)


@pytest.mark.parametrize("number", range(60))
def test_every_record_moved(journal: Written, number: int) -> None:
    bodies, other = journal.shard.bodies, sixty_records("another")[1].bodies[number]
    before, record, after = bodies[:number], bodies[number], bodies[number + 1 :]
    here, behind = f"shard-000/{number}", f"shard-000/{number + 1}"
    moves = [
        ([*before, *after], (here, "record_sequence" if after else "record_missing")),
        ([*before, record, record, *after], (behind, "record_sequence")),
        ([*before, *after[:1], record, *after[1:]], (here, "record_sequence")),
        ([*before, other, *after], ("shard-000 head 1", "head_root")),
    ]
    for moved, failure in moves:
        if moved != bodies:  # the last has none behind it, and a GAP says the same in both journals
            with journal.replaced(LOG, log_of(moved)):
                assert journal.failures() == [failure]


def _values(old: int) -> set[int]:
    """What becomes of a byte: one of its bits flipped, and none or all of them set."""
    return {old ^ _bit(), SOURCE.choice((0x00, 0xFF))} - {old}


def _bit() -> int:
    return 1 << SOURCE.randrange(8)


def _check_reason(name: str, failures: Failures) -> None:
    """A file whose bytes were changed is refused first, and for what nobody without its keys can avoid."""
    place, reasons = NOTES.get(name, ("shard-000/", IN_THE_LOG))
    assert failures, name
    assert failures[0][0].startswith(place), failures
    assert failures[0][1] in reasons, failures


def _reasons(kind: int, offset: int) -> set[str]:
    """Why a record with another byte there may be refused."""
    public = kind in (EPOCH, GAP)
    if offset == 0:
        return {"record_format"}
    if offset == 1:
        return {"record_epoch", "record_malformed", "record_of", "head_root"}
    if offset < 12:
        return {"record_sequence"}
    if offset < 16:
        return {"record_epoch"}
    if offset < 26:
        return {"record_malformed", "record_of", "head_root"}
    if offset < HEADER:
        return {"record_malformed"} if public else {"head_root"}
    return {"record_malformed", "record_time", "head_root"} if public else {"head_root"}
