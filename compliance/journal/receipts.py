"""What is handed out to show that a record was written: a promise at once, a proof once it is synced and signed."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from compliance.journal.errors import NotReadable
from compliance.journal.recovery import last_head
from compliance.journal.shard import NODE
from compliance.journal.signing import DayKey
from compliance.verify.errors import NotVerified
from compliance.verify.keyring import Keyring
from compliance.verify.leaf import shard_name
from compliance.verify.merkle import Nodes, inclusion_path, position
from compliance.verify.note import DAY, Note, signed
from compliance.verify.receipt import ProvedRecord, Receipt, verify_receipt
from compliance.verify.statements import Promise

__all__ = ["Written", "promised", "proved", "redeemed"]


class Written(NamedTuple):
    """A record as it stands in the log: its place, and its leaf hash."""

    shard: int
    sequence: int
    leaf: bytes


def promised(id_: str, at: int, written: Sequence[Written], key: DayKey) -> bytes:
    """A receipt that only promises: a power cut may still take these records, and a head over them would then lie."""
    promise = Promise(id_, at, tuple(((one.shard, one.sequence), one.leaf) for one in written))
    records = tuple(ProvedRecord(*one) for one in written)
    return Receipt(records, signed(promise.text(), DAY, key.signer), key.certificate).packed()


def proved(written: Sequence[Written], size: int, node: Nodes, head: str, certificate: str) -> bytes:
    """A receipt that proves: these records of one shard stand in the tree of `size` leaves that the head signs."""
    records = (ProvedRecord(*one, path=tuple(inclusion_path(one.sequence, size, node))) for one in written)
    return Receipt(tuple(records), head, certificate).packed()


def redeemed(directory: Path, keyring: Keyring, places: Sequence[tuple[int, int]]) -> bytes:
    """The receipt that proves these records (shard, sequence), all of one shard, under its last signed head.

    Raises NotReadable: record_unsigned when they are not all under it yet, JournalError.
    """
    number = places[0][0]
    found = last_head(directory, number, keyring)
    if found is None or any(shard != number or sequence >= found[0].size for shard, sequence in places):
        raise NotReadable("record_unsigned", "no signed head covers all of these records yet")
    head, note = found
    descriptor = os.open(directory / f"{shard_name(number)}.nodes", os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:

        def node(level: int, index: int) -> bytes:
            return os.pread(descriptor, NODE, NODE * position(level, index))

        written = [Written(number, sequence, node(0, sequence)) for _, sequence in places]
        certificate = keyring.certificate(keyring.signer_of(Note.parsed(note)), head.at) or ""
        receipt = proved(written, head.size, node, note, certificate)
    finally:
        os.close(descriptor)
    try:
        # the nodes are made again when a process takes the shard; until then a crash may have left them wrong
        verify_receipt(receipt, keyring.root)
    except NotVerified:
        raise NotReadable("record_unsigned", "the nodes of the tree are behind its last head") from None
    return receipt
