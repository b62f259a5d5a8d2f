"""One shard on disk: an append-only log, its Merkle tree, and the signed heads beside it.

A shard belongs to one process at a time, held by a lock that the system drops when the process dies. It begins with a
signed head over nothing, so that a log without heads was never made by a crash. Taking a shard repairs a torn tail,
says so in a GAP leaf, and goes on with the same tree. Both files are written at the offset where the last whole record
or head ended: whatever a failed write left behind is overwritten by the next one.
"""

from __future__ import annotations

import fcntl
import json
import mmap
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from compliance.crypto import Signer
from compliance.journal.errors import JournalError
from compliance.verify.leaf import ALLOWED, CLOSED, EPOCH, GAP, REFUSED, Broken, Leaf, Place, framed, unframed
from compliance.verify.merkle import Tree, leaf_hash
from compliance.verify.note import Head, signed
from compliance.verify.shard import head_of, notes, shard_name

__all__ = ["Shard"]

MAX_SHARDS = 1000
# a head is written again every second, so what it counts by name stays small whatever policies come and go
MAX_RULES = 1000
OTHERS = "(others)"
# refusals behind the last head whose rules only the auditor can read
UNREAD = "(before a restart)"


class Shard:
    """Made by `take`. Not safe for threads: the journal serialises its callers."""

    def __init__(self, log: int, heads: int, number: int, origin: str) -> None:
        self.number = number
        self.tree = Tree()
        self.epoch = 0
        self.at = 0
        self.counts = {"allowed": 0, "refused": 0}
        self.unfinished: set[int] = set()
        self._rules: Counter[str] = Counter()
        self._log = log
        self._log_end = 0
        self._heads = heads
        self._heads_end = 0
        self._signed = -1
        self._origin = origin

    @classmethod
    def take(cls, directory: Path, journal: str, signer: Signer, at: int) -> Shard:
        """Lock the first free shard and go on where it ends, or begin a new one at the time `at` (nanoseconds).

        Raises JournalError when the shard does not hold or cannot be written.
        """
        for number in range(MAX_SHARDS):
            name = shard_name(number)
            try:
                held = _held(directory / name)
                if held is None:
                    continue
                shard = cls(*held, number, f"{journal}/{name}")
                try:
                    shard._recover(directory, signer, at)
                except BaseException:
                    shard.close()
                    raise
            except OSError as error:
                raise JournalError("journal_write", f"{directory / name}: {error.strerror}") from None
            return shard
        raise JournalError("journal_shards", f"{MAX_SHARDS} shards are in use")

    def append(self, leaf: Leaf) -> None:
        """Write one record with one write. Raises JournalError; then the log is as it was before."""
        body = leaf.body()
        record = framed(body)
        try:
            _write(self._log, record, self._log_end)
        except OSError as error:
            raise JournalError("journal_write", f"the record was not written: {error.strerror}") from None
        self._log_end += len(record)
        self._count(leaf, body)

    def refused_by(self, rules: Iterable[str]) -> None:
        """Count the rules that were against a call."""
        for rule in rules:
            self._rules[rule if rule in self._rules or len(self._rules) < MAX_RULES else OTHERS] += 1

    def sign(self, signer: Signer, at: int) -> None:
        """Sign a head over all records that are not signed yet, once they are on the disk."""
        if self.tree.size == self._signed:
            return
        counters = json.dumps({**self.counts, "rules": dict(sorted(self._rules.items()))}, separators=(",", ":"))
        head = Head(self._origin, self.tree.size, self.tree.root(), at, counters)
        text = (signed(head.text(), signer) + "\n").encode()
        try:
            # a head that outlives its leaves in a power cut would look like a log that was cut
            os.fdatasync(self._log)
            _write(self._heads, text, self._heads_end)
            os.fdatasync(self._heads)
        except OSError as error:
            raise JournalError("journal_write", f"the head was not written: {error.strerror}") from None
        self._heads_end += len(text)
        self._signed = head.size

    def close(self) -> None:
        os.close(self._heads)
        os.close(self._log)

    def _count(self, leaf: Leaf, body: bytes) -> None:
        place = leaf.place
        if place.kind == EPOCH:
            self.epoch = place.epoch
        elif place.kind == ALLOWED:
            self.counts["allowed"] += 1
            self.unfinished.add(place.sequence)
        elif place.kind == REFUSED:
            self.counts["refused"] += 1
        elif place.kind == CLOSED and place.of_shard == self.number:
            self.unfinished.discard(place.of_sequence)
        self.tree.append(leaf_hash(body))

    def _recover(self, directory: Path, signer: Signer, at: int) -> None:
        """Rebuild the tree from the log, check it against the last head, and mend what a crash left torn."""
        last = self._last_head(directory, signer.public)
        size = os.fstat(self._log).st_size
        if last is None:
            if size:
                raise JournalError("journal_broken", f"{self._origin} has records but no signed head")
            os.ftruncate(self._heads, 0)
            self.sign(signer, at)
            _sync_names(directory)
            return
        if size:
            with mmap.mmap(self._log, size, access=mmap.ACCESS_READ) as mapped, memoryview(mapped) as log:
                self._replay(log, last)
        if self.tree.size < last.size:
            raise JournalError("journal_broken", f"{self._origin} has lost records that were signed")
        counters = json.loads(last.counters)
        self.at, self._signed = last.at, last.size
        self._rules.update(counters["rules"])
        behind = self.counts["refused"] - counters["refused"]
        if behind:
            self._rules[UNREAD] += behind
        self._mend(size - self._log_end, os.fstat(self._heads).st_size - self._heads_end)

    def _mend(self, torn: int, torn_head: int) -> None:
        """Put a GAP leaf in the place of what is torn, then cut off the rest; a crash in between is mended again."""
        if torn or torn_head:
            dropped = json.dumps({"dropped_bytes": torn, "dropped_head_bytes": torn_head}).encode()
            self.append(Leaf(Place(GAP, self.number, self.tree.size, self.epoch), dropped, b""))
            os.ftruncate(self._log, self._log_end)
            os.ftruncate(self._heads, self._heads_end)

    def _last_head(self, directory: Path, public: bytes) -> Head | None:
        """The last signed head, behind which the next one is written. The ones before are the verifier's to check."""
        path = directory / f"{shard_name(self.number)}.heads"
        last = None
        try:
            for note, end in _whole(path):
                last, self._heads_end = note, end
            return None if last is None else head_of(last, self._origin, public)
        except Broken as broken:
            raise JournalError("journal_broken", f"{path}: {broken.code}") from None

    def _replay(self, log: memoryview, last: Head) -> None:
        """Take in every whole record; what stands behind them is torn."""
        while self._log_end < len(log):
            try:
                body, end = unframed(log, self._log_end)
                leaf = Leaf.parsed(body)
            except Broken as broken:
                if self.tree.size < last.size:
                    name = f"{self._origin}/{self.tree.size}"
                    raise JournalError("journal_broken", f"{name}: {broken.code}") from None
                return
            self._log_end = end
            self._count(leaf, body)
            if self.tree.size == last.size and self.tree.root() != last.root:
                raise JournalError("journal_broken", f"{self._origin}: the records are not those that were signed")


def _held(path: Path) -> tuple[int, int] | None:
    """The log and the heads, held against other processes, or None when one of them holds them. Raises OSError."""
    log = _descriptor(path.with_suffix(".log"))
    try:
        fcntl.flock(log, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return log, _descriptor(path.with_suffix(".heads"))
    except BlockingIOError:
        os.close(log)
        return None
    except BaseException:
        os.close(log)
        raise


def _descriptor(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _whole(path: Path) -> Iterator[tuple[bytes, int]]:
    """The notes of a file without one that a crash left torn at its end."""
    try:
        yield from notes(path)
    except Broken as broken:
        if broken.code != "head_truncated":
            raise


def _write(descriptor: int, data: bytes, offset: int) -> None:
    """One write at the end of a file. Raises OSError; then the file ends where it ended before."""
    try:
        written = os.pwrite(descriptor, data, offset)
        if written != len(data):
            raise OSError(28, "the disk is full")
    except OSError:
        with suppress(OSError):
            os.ftruncate(descriptor, offset)
        raise


def _sync_names(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
