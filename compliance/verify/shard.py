"""Check one shard in one pass, its log and its heads side by side, in memory that does not grow with them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path
from typing import BinaryIO, NamedTuple

from compliance.crypto import NONCE, TAG, sha256
from compliance.verify.errors import NotVerified
from compliance.verify.heads import SignedHeads, being_written
from compliance.verify.keyring import Keyring
from compliance.verify.leaf import (
    ALLOWED,
    CLOSED,
    EPOCH,
    FORMAT,
    GAP,
    HEADER,
    NOBODY,
    NOTED,
    PLACED,
    REFUSED,
    SEALED,
    Broken,
    Epoch,
    Gap,
    frames,
    record_name,
    shard_name,
)
from compliance.verify.merkle import Tree
from compliance.verify.note import regular
from compliance.verify.statements import MAX_SHARDS, Head

__all__ = ["CheckedShard", "Mark"]

_ZEROS = bytes(HEADER - PLACED.size)
_LEAST = HEADER + NONCE + TAG  # bytes of a sealed record


class Mark(NamedTuple):
    """What a joint head, or one from outside, says of a shard: so many leaves have this root.

    It says so at `place`; `altered` and `missing` are the codes for a log that does not agree, or ends before.
    """

    size: int
    root: bytes
    place: str
    altered: str
    missing: str


class CheckedShard:
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
        self.number = number
        self.name = shard_name(number)
        self.log = directory / f"{self.name}.log"
        self.size = 0  # of the log when it was opened (bytes)
        self.tree = Tree()
        self.allowed = 0
        self.refused = 0
        self.closed = 0
        self.gaps = 0
        self.open: set[int] = set()  # calls that no record of this shard closed
        self.elsewhere: list[tuple[int, int, int]] = []  # records that close another's call: sequence, of whom
        self.auditors: set[str] = set()  # the fingerprints of those to whom epochs were sealed
        self.last: Head | None = None  # that was compared
        self._heads = SignedHeads(self.log, number, keyring, heads_size)
        self._head: Head | None = None  # the next to be compared
        self._marks = sorted(marks, key=lambda mark: mark.size)[::-1]  # the next to be compared at the end
        self._ciphertexts = ciphertexts
        self._nonces: set[bytes] = set()  # of this epoch
        self._epoch = 0
        self._keyed = False  # whether an EPOCH stands above, and no GAP since
        self._latest = 0  # the time of the last head, EPOCH or GAP (ns)

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
        tree = self.tree
        try:
            for body, leaf, end in frames(file.read, self.size, progress):
                self._take(body)
                tree.append(leaf)
                if tree.size == due:
                    due = self._compare(end)
        except Broken as broken:
            if broken.code != "record_truncated" or not being_written(self.log, self.size):
                raise NotVerified.at(record_name(self.number, tree.size), broken.code) from None
        if self._head is not None:
            raise NotVerified.at(record_name(self.number, tree.size), "record_missing")
        if self._marks:
            raise NotVerified.at(self._marks[-1].place, self._marks[-1].missing)

    def _compare(self, end: int) -> int:
        """Compare the records so far, which end there in the log, with the head and the marks over them.

        Returns over how many records the next of them is, or -1. Raises NotVerified.
        """
        root, head = self.tree.root(), self._head
        if head is not None and head.size == self.tree.size:
            if head.root != root:
                raise NotVerified.at(self._heads.place, "head_root")
            counted = (end, self.allowed, self.refused, self.closed)
            if (head.size_bytes, head.allowed, head.refused, head.closed) != counted:
                raise NotVerified.at(self._heads.place, "head_counters")
            self.last = head
            self._latest = max(self._latest, head.at)
            self._head = self._heads.read()
        while self._marks and self._marks[-1].size == self.tree.size:
            mark = self._marks.pop()
            if mark.root != root:
                raise NotVerified.at(mark.place, mark.altered)
        return min((due.size for due in (self._head, *self._marks[-1:]) if due is not None), default=-1)

    def _take(self, body: bytes) -> None:
        """Take in the next record. Raises Broken."""
        form, kind, shard, sequence, epoch, of_shard, of_sequence = PLACED.unpack_from(body)
        if form != FORMAT:
            raise Broken("record_format")
        if shard != self.number or sequence != self.tree.size:
            raise Broken("record_sequence")
        if epoch != self._epoch + (kind == EPOCH):
            raise Broken("record_epoch")
        if kind not in SEALED:
            self._take_public(kind, body, (of_shard, of_sequence))
            return
        if len(body) < _LEAST or not self._may_belong(kind, sequence, of_shard, of_sequence):
            raise Broken("record_malformed")
        if not self._keyed:
            raise Broken("record_epoch")
        nonce = body[HEADER : HEADER + NONCE]
        if nonce in self._nonces:
            raise Broken("nonce_reused")
        self._nonces.add(nonce)
        if kind == ALLOWED:
            self.allowed += 1
            self.open.add(sequence)
        elif kind == REFUSED:
            self.refused += 1
        elif kind == CLOSED:
            self.closed += 1
            if of_shard != self.number:
                self.elsewhere.append((sequence, of_shard, of_sequence))
            elif of_sequence in self.open:
                self.open.remove(of_sequence)
            else:
                raise Broken("record_of")

    def _may_belong(self, kind: int, sequence: int, of_shard: int, of_sequence: int) -> bool:
        """Whether a sealed record of this kind may belong to what it says."""
        if of_shard == NOBODY[0] and of_sequence == NOBODY[1]:
            return kind != CLOSED
        if kind not in (NOTED, CLOSED):
            return False
        return of_sequence < sequence if of_shard == self.number else of_shard < MAX_SHARDS

    def _take_public(self, kind: int, body: bytes, of: tuple[int, int]) -> None:
        if kind > GAP:
            return  # of a later version, opaque
        if kind == 0 or of != NOBODY or body[PLACED.size : HEADER] != _ZEROS:
            raise Broken("record_malformed")
        content = body[HEADER:]
        found = Epoch.parsed(content) if kind == EPOCH else Gap.parsed(content)
        if found.at < self._latest:
            raise Broken("record_time")
        self._latest = found.at
        self._keyed = kind == EPOCH
        if isinstance(found, Gap):
            self.gaps += 1
            return
        sealed = {sha256(ciphertext) for _, ciphertext in found.sealed}
        if not self._ciphertexts.isdisjoint(sealed):
            raise Broken("epoch_replayed")
        self._ciphertexts |= sealed
        self.auditors.update(fingerprint.hex() for fingerprint, _ in found.sealed)
        self._epoch += 1
        self._nonces.clear()
