"""Check one shard in one pass, its log and its heads side by side, in memory that does not grow with them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path
from typing import BinaryIO, NamedTuple

from compliance.verify.errors import NotVerified
from compliance.verify.heads import SignedHeads, being_written
from compliance.verify.keyring import Keyring
from compliance.verify.leaf import Broken, frames, record_name, shard_name
from compliance.verify.note import regular
from compliance.verify.records import BATCH, Records
from compliance.verify.statements import Head

__all__ = ["CheckedShard", "Mark"]


class Mark(NamedTuple):
    """What a joint head, or one from outside, says of a shard: so many leaves have this root.

    It says so at `place`; `altered` and `missing` are the codes for a log that does not agree, or ends before.
    """

    size: int
    root: bytes
    place: str
    altered: str
    missing: str


class CheckedShard(Records):
    """What a shard says in public, as far as it was read.

    `ciphertexts` holds the hashes of the sealed keys of all epochs that were seen, in any shard. Heads behind
    `heads_size` bytes are left out.
    """

    def __init__(
        self,
        directory: Path,
        number: int,
        keyring: Keyring,
        marks: Iterable[Mark],
        ciphertexts: set[bytes],
        heads_size: int | None = None,
    ) -> None:
        super().__init__(number, ciphertexts)
        self.name = shard_name(number)
        self.log = directory / f"{self.name}.log"
        self.size = 0  # of the log when it was opened (bytes)
        self.last: Head | None = None  # that was compared
        self._heads = SignedHeads(self.log, number, keyring, heads_size)
        self._head: Head | None = None  # the next to be compared
        self._marks = sorted(marks, key=lambda mark: mark.size)[::-1]  # the next to be compared at the end

    def check(self, progress: Callable[[int], None]) -> None:
        """Read the shard up to its first failure, which NotVerified says.

        `progress` hears how many bytes more of the log were read.
        """
        try:
            file = regular(self.log)
        except FileNotFoundError:
            raise NotVerified.at(self.name, "shard_missing") from None
        # marks and heads were measured before the log is, so that it reaches as far as they do
        with file, closing(self._heads):
            self._read(file, progress)

    def _read(self, file: BinaryIO, progress: Callable[[int], None]) -> None:
        self.size = file.seek(0, 2)
        file.seek(0)

        self._head = self._heads.read()
        due = self._compare(0)
        leaves: list[bytes] = []
        try:
            for body, leaf, end in frames(file.read, self.size, progress):
                self.take(body)
                leaves.append(leaf)
                self.count += 1
                if self.count == due or len(leaves) == BATCH:
                    self.tree.extend(leaves)
                    leaves.clear()
                    if self.count == due:
                        due = self._compare(end)
        except Broken as broken:
            if broken.code != "record_truncated" or not being_written(self.log, self.size):
                raise NotVerified.at(record_name(self.number, self.count), broken.code) from None
        if self._head is not None:
            raise NotVerified.at(record_name(self.number, self.count), "record_missing")
        if self._marks:
            raise NotVerified.at(self._marks[-1].place, self._marks[-1].missing)

    def _compare(self, end: int) -> int:
        """Compare the records so far, which end there in the log, with the head and the marks over them.

        Returns over how many records the next of them is, or -1. Raises NotVerified.
        """
        root, head = self.tree.root(), self._head
        if head is not None and head.size == self.count:
            if head.root != root:
                raise NotVerified.at(self._heads.place, "head_root")
            counted = (end, self.allowed, self.refused, self.closed)
            if (head.size_bytes, head.allowed, head.refused, head.closed) != counted:
                raise NotVerified.at(self._heads.place, "head_counters")
            self.last = head
            self.latest = max(self.latest, head.at)
            self._head = self._heads.read()
        while self._marks and self._marks[-1].size == self.count:
            mark = self._marks.pop()
            if mark.root != root:
                raise NotVerified.at(mark.place, mark.altered)
        return min((due.size for due in (self._head, *self._marks[-1:]) if due is not None), default=-1)
