"""The power is cut at every call to the system: nothing acknowledged is lost, nothing invented, and no head a lie."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from random import Random

import pytest

from compliance.crypto import Unauthentic
from compliance.journal.errors import JournalError
from compliance.journal.writer import Entry, Journal
from compliance.verify.leaf import Broken
from compliance.verify.merkle import Tree, leaf_hash
from compliance.verify.note import Note, notes
from compliance.verify.receipt import check_promise, verify_receipt
from compliance.verify.statements import Head, JointHead, head_parsed
from policies.errors import Fault
from policies.facts import Decision
from policies.payload import Payload
from tests.journals import DONE, MODEL, NO, YES, JournalBox, a_call, bodies, call_ids
from tests.unsafe_disk import PowerCut, UnsafeDisk, put


@dataclass
class Work:
    """A workload, what of it was told to be on the disk, and the receipts that left the box meanwhile."""

    box: JournalBox
    asked: set[str] = field(default_factory=set)  # calls that may be found
    opened: set[str] = field(default_factory=set)  # calls that must be found
    closed: set[str] = field(default_factory=set)
    receipts: list[bytes] = field(default_factory=list)
    journals: list[Journal] = field(default_factory=list)  # not yet closed

    def later(self) -> Work:
        """The same, for another process to go on with."""
        return Work(self.box, set(self.asked), set(self.opened), set(self.closed), list(self.receipts))

    def run(self) -> None:
        """Both classes, two shards, heads, joint heads, a restart."""
        journal = self.journal(durable=False)
        first, second = (self.begin(journal, text) for text in ("a", "b" * 5000))
        self.end(journal, first)
        self.begin(journal, "", decision=NO)
        beside = self.journal(durable=True)
        third = self.begin(beside, "c", lasts=True)
        self.end(beside, third, lasts=True)
        journal.checkpoint()
        self.opened |= {first.call.id, second.call.id}
        self.closed |= {first.call.id}
        self.end(journal, second)
        journal.record("read", {"records": 3}, "clinic")
        beside.close()
        journal.close()
        self.closed |= {second.call.id}
        journal = self.journal(durable=True)
        fourth = self.begin(journal, "d" * 3000, lasts=True)
        journal.noted(fourth, "chunk", {})
        self.end(journal, fourth, lasts=True)
        journal.close()

    def go_on(self) -> None:
        """Take every shard again, and use it."""
        journals = [self.journal(durable=True) for _ in range(2)]
        for journal in journals:
            self.end(journal, self.begin(journal, "later", lasts=True), lasts=True)
        for journal in journals:
            journal.close()

    def journal(self, *, durable: bool) -> Journal:
        self.journals.append(self.box.journal(durable=durable))
        return self.journals[-1]

    def begin(self, journal: Journal, value: str, *, lasts: bool = False, decision: Decision = YES) -> Entry:
        call = a_call(journal)
        self.asked.add(call.id)
        entry = journal.opened(call, MODEL, decision, Payload(value=value))
        if lasts:
            self.opened.add(call.id)
        return entry

    def end(self, journal: Journal, entry: Entry, *, lasts: bool = False) -> None:
        written = journal.closed(entry, DONE)
        if lasts:
            self.closed.add(entry.call.id)
        self.receipts.append(journal.receipt(written))

    @contextmanager
    def until_the_cut(self, disk: UnsafeDisk) -> Iterator[None]:
        """The end of the process: its journals are taken away as they are."""
        with disk.in_place():
            try:
                yield
            except (PowerCut, Fault):
                if not disk.off:
                    raise
            finally:
                for journal in self.journals:
                    journal._let_go()
                    journal.close()
                self.journals.clear()

    def go_on_and_check(self, left: list[Head | JointHead]) -> None:
        """What is in the journal then against what was said before."""
        with self.until_the_cut(UnsafeDisk(self.box.directory)):
            self.go_on()
        self.box.verify()
        begun, ended = call_ids(self.box.read())
        assert self.opened <= begun <= self.asked
        assert self.closed <= ended <= self.asked
        roots = [_roots(log) for log in sorted(self.box.directory.glob("*.log"))]
        for head in left:
            assert [root for shard, (size, root) in head.by_shard().items() if roots[shard][size] != root] == []
        for data in self.receipts:
            receipt = verify_receipt(data, self.box.root.public)
            if isinstance(receipt.statement, Head):
                check_promise(self.box.directory, receipt)
                assert roots[receipt.statement.shard][receipt.statement.size] == receipt.statement.root


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A box in which the salts are there already, since the power is cut for the journal only."""
    box = JournalBox.make(tmp_path_factory.mktemp("power") / "box")
    empty = box.folder / "empty"
    shutil.copytree(box.directory, empty)
    Work(box).run()
    shutil.rmtree(box.directory)
    empty.rename(box.directory)
    return box.folder


def _roots(log: Path) -> list[bytes]:
    """The root of the tree after each record."""
    tree = Tree()
    roots = [tree.root()]
    for body in bodies(log):
        tree.append(leaf_hash(body))
        roots.append(tree.root())
    return roots


def _heads(box: JournalBox) -> list[Head | JointHead]:
    """Every head that stands in a file, synced or not: another process may have handed it out."""
    found: list[Head | JointHead] = []
    for path in box.directory.glob("*.heads"):
        with suppress(Broken, Unauthentic, ValueError):  # at its end it may be torn
            for note, _ in notes(path, "truncated", "malformed"):
                found.append(head_parsed(Note.parsed(note).text))
    return found


def test_whatever_a_power_cut_leaves_is_gone_on_with(template: Path, tmp_path: Path) -> None:
    """At every call of the work; and for some of what the disk may hold then, at a call of what mends it."""
    for cut_at in count(1):
        box = JournalBox(Path(shutil.copytree(template, tmp_path / f"box-{cut_at}")))
        work, disk = Work(box), UnsafeDisk(box.directory, cut_at=cut_at)
        with work.until_the_cut(disk):
            work.run()
        if not disk.off:
            break
        heads = _heads(box)
        seen: list[dict[str, bytes]] = []
        for number in range(4):
            chance = Random(10 * cut_at + number)  # noqa: S311 - moments and no secrets
            left = disk.left(chance if number else None)
            if left not in seen:
                seen.append(left)
                put(box.directory, left)
                work.later().go_on_and_check(heads)
        shutil.rmtree(box.folder)
    assert cut_at > 60


def test_a_power_cut_while_a_crash_is_mended_is_mended(template: Path, tmp_path: Path) -> None:
    """The first is a power cut or a kill: what a process wrote and did not sync, the next one finds and may lose."""
    chance = Random(7)  # noqa: S311 - moments and no secrets
    for number in range(40):
        box = JournalBox(Path(shutil.copytree(template, tmp_path / f"box-{number}")))
        work, disk = Work(box), UnsafeDisk(box.directory, cut_at=chance.randint(10, 80))
        with work.until_the_cut(disk):
            work.run()
        heads, again = _heads(box), chance.randint(1, 30)
        if chance.random() < 0.6:
            disk = disk.after_a_kill(again)
        else:
            put(box.directory, disk.left(chance))
            disk = UnsafeDisk(box.directory, cut_at=again)
        later = work.later()
        with later.until_the_cut(disk):
            later.go_on()
        heads += _heads(box)
        put(box.directory, disk.left(chance))
        later.later().go_on_and_check(heads)
        shutil.rmtree(box.folder)


def test_what_the_disk_failed_to_sync_is_written_again(template: Path, tmp_path: Path) -> None:
    """A system reports a write that failed once, at a sync, and then has forgotten what it lost."""
    for broken_at in count(1):
        box = JournalBox(Path(shutil.copytree(template, tmp_path / f"box-{broken_at}")))
        work, disk = Work(box), UnsafeDisk(box.directory, broken_at=broken_at)
        with work.until_the_cut(disk):
            journal = work.journal(durable=False)
            for _ in range(4):
                with suppress(JournalError):
                    entry = work.begin(journal, "a")
                    work.end(journal, entry)
                    journal.checkpoint()
                    work.opened.add(entry.call.id)
                    work.closed.add(entry.call.id)
        if broken_at > disk.calls:
            break
        assert len(work.closed) >= 3
        heads = _heads(box)
        put(box.directory, disk.left(None))
        work.later().go_on_and_check(heads)
    assert broken_at > 20
