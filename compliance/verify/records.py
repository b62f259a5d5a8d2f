"""What must hold from record to record of one shard, in memory that does not grow with it."""

from __future__ import annotations

from compliance.crypto import NONCE, TAG, sha256
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
)
from compliance.verify.merkle import Tree
from compliance.verify.statements import MAX_SHARDS

__all__ = ["BATCH", "Records"]

BATCH = 1024  # hashes that are put into a tree at once

_ZEROS = bytes(HEADER - PLACED.size)
_LEAST = HEADER + NONCE + TAG  # bytes of a sealed record


class Records:
    """The records of a shard in turn, from its first or from a later one on.

    Whoever takes a record in adds it to `count` then, and its hash to `tree` by and by. `ciphertexts` holds the hashes
    of the sealed keys of all epochs that were seen, in any shard. Where records do not begin at 0, `tree` is that of
    the ones before, and `begin` takes from the first record in which epoch it stands.
    """

    def __init__(self, number: int, ciphertexts: set[bytes], tree: Tree | None = None) -> None:
        self.number = number
        self.tree = tree or Tree()
        self.start = self.count = self.tree.size
        self.allowed = 0
        self.refused = 0
        self.closed = 0
        self.gaps = 0
        self.open: set[int] = set()  # calls that no record of this shard closed
        self.earlier: set[int] = set()  # calls from before the start that were closed since
        self.elsewhere: list[tuple[int, int, int]] = []  # records that close another's call: sequence, of whom
        self.auditors: set[str] = set()  # the fingerprints of those to whom epochs were sealed
        self.latest = 0  # the time of the last head, EPOCH or GAP (ns)
        self._ciphertexts = ciphertexts
        self._nonces: set[bytes] = set()  # of this epoch
        self._epoch = 0
        self._keyed = False  # whether an EPOCH stands above, and no GAP since

    def begin(self, body: bytes) -> None:
        """Believe the first record, behind the start, which epoch it is of."""
        kind, epoch = body[1], PLACED.unpack_from(body)[4]
        self._epoch = epoch - (kind == EPOCH)
        self._keyed = True

    def take(self, body: bytes) -> tuple[int, tuple[int, int]]:
        """Take in the next record. Returns its kind, and the place that it belongs to. Raises Broken."""
        form, kind, shard, sequence, epoch, of_shard, of_sequence = PLACED.unpack_from(body)
        if form != FORMAT:
            raise Broken("record_format")
        if shard != self.number or sequence != self.count:
            raise Broken("record_sequence")
        if epoch != self._epoch + (kind == EPOCH):
            raise Broken("record_epoch")
        if kind not in SEALED:
            self._take_public(kind, body, (of_shard, of_sequence))
            return kind, NOBODY
        of = of_shard, of_sequence
        # a sealed record of another one stands behind it, or in another shard
        behind = of_sequence < sequence if of_shard == shard else of_shard < MAX_SHARDS
        if len(body) < _LEAST or not (behind if kind == CLOSED else of == NOBODY or (behind and kind == NOTED)):
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
            if of_shard != shard:
                self.elsewhere.append((sequence, of_shard, of_sequence))
            elif of_sequence in self.open:
                self.open.remove(of_sequence)
            elif of_sequence < self.start and of_sequence not in self.earlier:
                self.earlier.add(of_sequence)
            else:
                raise Broken("record_of")
        return kind, of

    def _take_public(self, kind: int, body: bytes, of: tuple[int, int]) -> None:
        if kind > GAP:
            return  # of a later version, opaque
        if kind == 0 or of != NOBODY or body[PLACED.size : HEADER] != _ZEROS:
            raise Broken("record_malformed")
        content = body[HEADER:]
        found = Epoch.parsed(content) if kind == EPOCH else Gap.parsed(content)
        if found.at < self.latest:
            raise Broken("record_time")
        self.latest = found.at
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
