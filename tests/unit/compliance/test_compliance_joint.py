"""Joint heads: what they cover is on the disk, and they grow whoever writes them."""

from __future__ import annotations

import os
from itertools import pairwise
from pathlib import Path

import pytest

from compliance.journal.joint import JOINT, join, last_joint
from compliance.journal.recovery import last_heads
from compliance.verify.note import Note
from compliance.verify.statements import JointHead
from tests.journals import JournalBox, notes_of, opened, whole_call
from tests.unsafe_disk import PowerCut, UnsafeDisk, put


@pytest.fixture
def book(tmp_path: Path) -> JournalBox:
    """A box with an empty journal."""
    return JournalBox.make(tmp_path / "box")


def joint_heads(box: JournalBox) -> list[JointHead]:
    return [JointHead.parsed(Note.parsed(note[:-1]).text) for note in notes_of(box.directory / JOINT)]


def test_a_joint_head_lists_the_last_heads_of_all_shards(book: JournalBox) -> None:
    journals = [book.journal() for _ in range(3)]
    for number, journal in enumerate(journals):
        for _ in range(number + 1):
            whole_call(journal)
    for journal in journals:
        journal.checkpoint()
    keyring = book.days.keyring()
    last = last_joint(book.directory, keyring)
    assert [size for size, _ in last.shards] == [3, 5, 7]
    assert last.shards == tuple((head.size, head.root) for head in last_heads(book.directory, keyring))
    assert last == joint_heads(book)[-1] == book.verify().joint
    for journal in journals:
        journal.close()
    book.verify()


def test_joint_heads_grow_and_none_says_what_the_one_before_said(book: JournalBox) -> None:
    for _ in range(3):
        journal = book.journal()
        journal.checkpoint()
        whole_call(journal)
        journal.checkpoint()
        journal.checkpoint()
        journal.close()
    found = joint_heads(book)
    assert [joint.total for joint in found] == [0, 0, 3, 6, 9]
    assert all(before.grows_to(after) for before, after in pairwise(found))
    assert len({joint.shards for joint in found}) == len(found)


def test_a_joint_head_is_not_older_than_the_one_before(book: JournalBox) -> None:
    """Another process may have a clock that is ahead, by less than a day."""
    journal = book.journal()
    whole_call(journal)
    journal.close()
    keyring, last = book.days.keyring(), joint_heads(book)[-1]
    journal = book.journal()
    opened(journal)
    journal.checkpoint()
    join(book.directory, keyring, book.days.signer, last.at - 1)
    journal.close()
    assert book.verify().unfinished == 1


def test_a_head_that_is_not_synced_yet_is_synced_before_it_is_joined(book: JournalBox) -> None:
    """Else a power cut takes the head and leaves the joint head, as if a shard had gone back."""
    first, second = book.journal(), book.journal()
    for journal in (first, second):
        whole_call(journal)
        journal.checkpoint()
    disk = UnsafeDisk(book.directory)
    real = os.fdatasync
    with disk.in_place(), pytest.MonkeyPatch.context() as patch:
        standing_in = os.fdatasync

        def sync(descriptor: int) -> None:
            path = Path(f"/proc/self/fd/{descriptor}").readlink()
            if path.name == "shard-001.heads" and not disk.off:
                # the other process joins at this moment, then the power goes
                patch.setattr(os, "fdatasync", standing_in)
                first.checkpoint()
                disk.off = True
            standing_in(descriptor)

        whole_call(first)
        whole_call(second)
        patch.setattr(os, "fdatasync", sync)
        with pytest.raises(PowerCut):
            second.checkpoint()
        for journal in (first, second):
            journal._let_go()
            journal.close()
    assert os.fdatasync is real
    put(book.directory, disk.left(None))
    assert joint_heads(book)[-1].total == 10
    journals = [book.journal() for _ in range(2)]
    for journal in journals:
        whole_call(journal)
    for journal in journals:
        journal.close()
    assert book.verify().allowed == 6


def test_a_shard_that_another_process_begins_is_on_the_disk_before_it_is_joined(book: JournalBox) -> None:
    disk = UnsafeDisk(book.directory)
    with disk.in_place():
        first, second = book.journal(), book.journal()
        whole_call(first)
        second.now()
        first.checkpoint()
        for journal in (first, second):
            journal._let_go()
            journal.close()
    put(book.directory, disk.left(None))
    assert len(joint_heads(book)[-1].shards) == 2
    whole_call(book.journal())
    assert {path.stem for path in book.directory.glob("shard-*")} == {"shard-000", "shard-001"}
