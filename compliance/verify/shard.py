"""Check one shard in one pass, its log and its heads side by side, in memory that does not grow with them."""

from __future__ import annotations

import json
import mmap
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from compliance.crypto import Unauthentic
from compliance.verify.leaf import ALLOWED, CLOSED, REFUSED, Broken, Leaf, unframed
from compliance.verify.merkle import Tree, leaf_hash
from compliance.verify.note import Head, opened

__all__ = ["MAX_FAILURES", "CheckedShard", "Failure", "head_of", "notes", "shard_name"]

MAX_FAILURES = 1000
MAX_LINE = 1_000_000
# five lines of a head, an empty one, a signature, and an empty one that parts it from the next
LINES = 8


@dataclass(frozen=True)
class Failure:
    """Where the journal does not hold (a record such as shard-000/17, or a file), and the code of the reason."""

    record: str
    code: str


class CheckedShard:
    """What a shard of a journal directory says in public, with the `failures` that were found in it."""

    def __init__(self, directory: Path, number: int, journal: str, public: bytes) -> None:
        self.name = shard_name(number)
        self.tree = Tree()
        self.allowed = 0
        self.refused = 0
        self.unfinished: set[int] = set()  # the calls without an outcome here
        self.elsewhere: list[tuple[str, int, int]] = []  # outcomes of other shards' calls: record, shard, sequence
        self.last: Head | None = None
        self.failures: list[Failure] = []
        self._number = number
        self._expected = 0
        self._sound = True
        log = directory / f"{self.name}.log"
        self._heads = self._read_heads(log, f"{journal}/{self.name}", public)
        if log.is_file():
            # the heads are measured before the log is, so that the log reaches as far as they do
            self._due = next(self._heads, None)
            with log.open("rb") as file:
                self._read(file)
            self._finish()
        else:
            self.failures.append(Failure(self.name, "shard_missing"))

    def _read(self, file: BinaryIO) -> None:
        self._compare()
        size = file.seek(0, 2)
        if size == 0:
            return
        with mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ) as mapped, memoryview(mapped) as log:
            offset = 0
            while offset < size and len(self.failures) < MAX_FAILURES:
                try:
                    body, offset = unframed(log, offset)
                except Broken as broken:
                    # where the next record starts is not known any more
                    if broken.code != "record_truncated" or not _being_written(file, size):
                        self._fail(broken.code)
                    return
                try:
                    self._take(Leaf.parsed(body))
                except Broken as broken:
                    self._fail(broken.code)
                self.tree.append(leaf_hash(body))
                self._compare()

    def _take(self, leaf: Leaf) -> None:
        place = leaf.place
        expected = self._expected
        # after a record that is out of order the ones behind it count from there, so that one cut is one failure
        self._expected = place.sequence + 1
        if (place.shard, place.sequence) != (self._number, expected):
            raise Broken("record_sequence")
        if place.kind == ALLOWED:
            self.allowed += 1
            self.unfinished.add(place.sequence)
        elif place.kind == REFUSED:
            self.refused += 1
        elif place.kind == CLOSED and place.of_shard != self._number:
            self.elsewhere.append((f"{self.name}/{place.sequence}", place.of_shard, place.of_sequence))
        elif place.kind == CLOSED:
            if place.of_sequence not in self.unfinished:
                raise Broken("record_of")
            self.unfinished.discard(place.of_sequence)

    def _compare(self) -> None:
        """Compare the records so far with the head over them, where there is one."""
        head = self._due
        if head is None or head.size != self.tree.size:
            return
        if self._sound:
            counters = json.loads(head.counters)
            if head.root != self.tree.root():
                self._fail("head_root", self.tree.size - 1)
            elif (counters["allowed"], counters["refused"]) != (self.allowed, self.refused):
                self._fail("head_counters", self.tree.size - 1)
        self._due = next(self._heads, None)

    def _finish(self) -> None:
        for _ in self._heads:
            pass
        if not self.failures:
            if self.last is None and self.tree.size:
                self.failures.append(Failure(self.name, "head_missing"))
            elif self.last is not None and self.last.size > self.tree.size:
                self._fail("record_missing")

    def _fail(self, code: str, sequence: int | None = None) -> None:
        self._sound = False
        self.failures.append(Failure(f"{self.name}/{self.tree.size if sequence is None else max(0, sequence)}", code))

    def _read_heads(self, log: Path, origin: str, public: bytes) -> Iterator[Head]:
        """The heads in order, up to the first that does not hold."""
        number = 0
        try:
            for note, _ in notes(log.with_suffix(".heads")):
                head = head_of(note, origin, public)
                if self.last is not None and (head.size <= self.last.size or head.at < self.last.at):
                    raise Broken("head_order")
                self.last = head
                yield head
                number += 1
        except Broken as broken:
            if broken.code == "head_truncated":
                with log.open("rb") as file:
                    if _being_written(file, file.seek(0, 2)):
                        return
            self.failures.append(Failure(f"{self.name} head {number}", broken.code))


def _being_written(log: BinaryIO, size: int) -> bool:
    """Whether the log, or its heads, may end within what a process writes now, or has written since it was measured.

    What was signed must be whole all the same: then the head counts more records than there are.
    """
    with suppress(ImportError):  # locks as the journal takes them, where it is written and not only verified
        import fcntl

        try:
            fcntl.flock(log, fcntl.LOCK_SH | fcntl.LOCK_NB)
            fcntl.flock(log, fcntl.LOCK_UN)
        except BlockingIOError:
            return True
    return log.seek(0, 2) != size


def shard_name(number: int) -> str:
    return f"shard-{number:03d}"


def notes(path: Path) -> Iterator[tuple[bytes, int]]:
    """The signed notes in a file of heads, not yet checked, and where each ends. What comes meanwhile is left out.

    Raises Broken: head_truncated when the file ends inside a note, head_signature when it cannot be cut into notes.
    """
    if not path.is_file():
        return
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(0)
        end = 0
        while end < size:
            lines = [file.readline(MAX_LINE) for _ in range(LINES)]
            end += sum(map(len, lines))
            if end > size:
                return
            if not lines[-1]:
                raise Broken("head_truncated")
            if lines[-1] != b"\n":
                raise Broken("head_signature")
            yield b"".join(lines[:-1]), end


def head_of(note: bytes, origin: str, public: bytes) -> Head:
    """The head in a note. Raises Broken: head_signature, head_origin."""
    try:
        head = Head.parsed(opened(note.decode(), public))
    except (Unauthentic, ValueError):
        raise Broken("head_signature") from None
    if head.origin != origin:
        raise Broken("head_origin")
    return head
