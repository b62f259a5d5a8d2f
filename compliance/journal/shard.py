"""One shard on disk: an append-only log, the nodes of its Merkle tree, and the signed heads beside it.

A shard belongs to one process at a time, held by a lock that the system drops when the process dies. It begins with a
signed head over nothing. Records are written by `append`; what was `counted` is made to last by `sync`, which alone
moves the tree on, and is signed by `sign`: so no head covers a leaf that a power cut can still take.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

from compliance.crypto import Signer, sha256
from compliance.journal.appended import Appended
from compliance.journal.errors import JournalError
from compliance.verify.leaf import ALLOWED, CLOSED, EPOCH, REFUSED, framed, shard_name
from compliance.verify.merkle import Tree, position
from compliance.verify.note import DAY, signed
from compliance.verify.statements import Head

__all__ = ["NODE", "OTHERS", "UNREAD", "Counts", "Shard"]

# a head is written again every second, so what it counts by name stays small whatever policies come and go
MAX_NAMES = 1000
OTHERS = "(others)"
# refusals behind the last head when a process died: only the auditor can read by which rules
UNREAD = "(before-a-restart)"
NODE = 32


class Counts:
    """What heads count, cumulatively."""

    def __init__(self, head: Head) -> None:
        self.allowed = head.allowed
        self.refused = head.refused
        self.closed = head.closed
        self.rules = Counter(head.rules)
        self.usage = Counter(head.usage)

    def leaf(self, kind: int) -> None:
        if kind == ALLOWED:
            self.allowed += 1
        elif kind == REFUSED:
            self.refused += 1
        elif kind == CLOSED:
            self.closed += 1

    def refused_by(self, rule: str) -> None:
        self.rules[_known(rule, self.rules)] += 1

    def used(self, grant: str, usage: Mapping[str, int]) -> None:
        for unit, amount in usage.items():
            self.usage[_known(f"{grant}/{unit}", self.usage, f"{OTHERS}/{unit}")] += amount


class Shard:
    """Made by `recovery.take`. `append` and `counted` belong to one thread at a time, `sync` and `sign` to another."""

    def __init__(self, directory: Path, number: int, id_: str, log: Appended) -> None:
        self.number = number
        self.id = id_
        self.epoch = 0
        self.log = log
        self.heads = Appended(directory / f"{shard_name(number)}.heads")
        self.nodes = Appended(directory / f"{shard_name(number)}.nodes")
        self.resume(Head(id_, number, 0, sha256(), 0, 0), Tree())

    def resume(self, head: Head, tree: Tree) -> None:
        """Go on behind what stands on the disk: the last signed head, and the tree over all that is synced."""
        self.head = head  # the last one in the file
        self.size = tree.size  # records that are written
        self.counts = Counts(head)
        self._unsynced: list[bytes] = []
        # since when the oldest record waits that no head covers, on the clock of time.monotonic
        self._waits_since = self._counted_at = time.monotonic()
        self._synced = tree, self.counted(head.at)

    def append(self, kind: int, body: bytes) -> bytes:
        """Write one record with one write. Returns its leaf hash. Raises JournalError; the log is as it was before."""
        leaf = sha256(b"\x00", body)
        try:
            self.log.append(framed(body, leaf))
        except OSError as error:
            raise JournalError("journal_write", f"the record was not written: {error.strerror}") from None
        if self.size == self.head.size:
            self._waits_since = time.monotonic()
        self.size += 1
        self._unsynced.append(leaf)
        self.counts.leaf(kind)
        if kind == EPOCH:
            self.epoch += 1
        return leaf

    def found(self, kind: int, leaf: bytes, end: int) -> None:
        """Take in a record that stands in the log already, up to this offset."""
        self.log.end = end
        self.size += 1
        self._unsynced.append(leaf)
        self.counts.leaf(kind)

    def counted(self, at: int) -> Head:
        """What a head will say of the records that are written now, at the time `at` (ns), still without a root.

        The time is that of counting: an EPOCH that comes behind these records then has a later one.
        """
        self._counted_at = time.monotonic()
        return Head(
            id=self.id,
            shard=self.number,
            size=self.size,
            root=b"",
            at=at,
            size_bytes=self.log.end,
            allowed=self.counts.allowed,
            refused=self.counts.refused,
            closed=self.counts.closed,
            rules=dict(self.counts.rules),
            usage=dict(self.counts.usage),
        )

    def sync(self, counted: Head) -> None:
        """Wait until these records are on the disk, then take them into the tree. Raises JournalError."""
        tree = self._synced[0].copy()
        leaves = self._unsynced[: counted.size - tree.size]
        try:
            if leaves:
                self.log.sync()
                self.nodes.append(b"".join(node for leaf in leaves for node in tree.append(leaf)))
        except OSError as error:
            raise JournalError("journal_write", f"the records cannot be synced: {error.strerror}") from None
        del self._unsynced[: len(leaves)]
        self._synced = tree, counted

    @property
    def synced(self) -> int:
        """How many records are on the disk."""
        return self._synced[0].size

    def signed_head(self, signer: Signer, at: int, destroyed: int) -> tuple[Head, str]:
        """A head over all that is synced, and its note. It may leave the box; in the file it is not yet."""
        destroyed = max(destroyed, self.head.destroyed)
        tree, counted = self._synced
        head = replace(counted, root=tree.root(), at=max(at, self.head.at), destroyed=destroyed)
        return head, signed(head.text(), DAY, signer)

    def sign(self, signer: Signer, destroyed: int) -> None:
        """Write a head over all that is synced, when there is something new. Raises JournalError."""
        if self.heads.end and self.synced == self.head.size:
            return
        head, note = self.signed_head(signer, self._synced[1].at, destroyed)
        try:
            # receipts are made from the nodes, and only their tops are checked when the shard is taken again
            self.nodes.sync()
            self.heads.append_synced(f"{note}\n".encode())
        except OSError as error:
            raise JournalError("journal_write", f"the head was not written: {error.strerror}") from None
        self._waits_since = self._counted_at
        self.head = head

    @property
    def lag(self) -> tuple[int, float]:
        """How many records no head covers yet, and for how many seconds the oldest of them has waited for one."""
        behind = max(0, self.size - self.head.size)
        return behind, max(0.0, time.monotonic() - self._waits_since) if behind else 0.0

    def node(self, level: int, index: int) -> bytes:
        """A node of the tree over what is synced."""
        return self.nodes.read(NODE, NODE * position(level, index))

    def close(self) -> None:
        for file in (self.nodes, self.heads, self.log):
            file.close()


def _known(name: str, names: Counter[str], others: str = OTHERS) -> str:
    """The name as a head can hold it, or `others` when there are too many."""
    written = "".join(c if "!" <= c <= "~" else quote(c) for c in name) or "-"
    return written if written in names or len(names) < MAX_NAMES else others
