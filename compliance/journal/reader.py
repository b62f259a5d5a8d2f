"""Read the journal with the private key of the auditor, where its salts are."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path

import msgspec
from msgspec import Struct

from compliance.crypto import Opener, Unauthentic, sha256, unseal
from compliance.journal.errors import NotReadable
from compliance.journal.records import (
    Closed,
    Noted,
    Opened,
    bound_to,
    epoch_info,
    masked_row,
    next_chain,
    record_key,
)
from compliance.state.salts import Salts
from compliance.verify.journal import shards
from compliance.verify.leaf import EPOCH, GAP, Broken, Leaf, commitment, unframed
from policies.payload import Payload

__all__ = ["Record", "read"]


class Record(Struct, frozen=True, kw_only=True):
    """One opened record. Erased ones have neither metadata nor payload."""

    record: str
    metadata: Opened | Noted | Closed | None
    payload: Payload | None = None


def read(directory: Path, journal: str, opener: Opener, salts: Salts) -> Iterator[Record]:
    """Every record that holds something, shard by shard, in the order of writing.

    Raises NotReadable: epoch_sealed when the key is another auditor's, record_altered when a record does not open
    though its key is right. Verify the journal first: reading alone does not show that records are missing.
    """
    for name in shards(directory):
        log_path = directory / f"{name}.log"
        if not log_path.is_file():
            raise NotReadable("record_altered", f"{name}: the log is missing")
        with log_path.open("rb") as file:
            size = file.seek(0, 2)
            if size:
                with mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ) as mapped, memoryview(mapped) as log:
                    yield from _read_shard(name, log, journal, opener, salts)


def _read_shard(name: str, log: memoryview, journal: str, opener: Opener, salts: Salts) -> Iterator[Record]:
    offset, chain = 0, b""
    while offset < len(log):
        try:
            body, offset = unframed(log, offset)
            leaf = Leaf.parsed(body)
        except Broken as broken:
            raise NotReadable("record_altered", f"{name}: a record cannot be read ({broken.code})") from None
        record = f"{name}/{leaf.place.sequence}"
        if leaf.place.kind == GAP:
            continue
        try:
            if leaf.place.kind == EPOCH:
                if leaf.metadata != sha256(opener.public):
                    raise NotReadable("epoch_sealed", f"{record} opens an epoch that is sealed to another auditor")
                chain = opener.open(leaf.payload, epoch_info(journal, leaf.place))
                continue
            yield _open(record, leaf, chain, journal, salts)
        except (Unauthentic, msgspec.MsgspecError):
            raise NotReadable("record_altered", f"{record} does not open, though its key is right") from None
        chain = next_chain(chain)


def _open(record: str, leaf: Leaf, chain: bytes, journal: str, salts: Salts) -> Record:
    salt = salts.salt(masked_row(chain, leaf.place.row))
    if salt is None:
        return Record(record=record, metadata=None)
    opened = []
    for label, sealed, committed in (
        (b"metadata", leaf.metadata, leaf.metadata_commitment),
        (b"payload", leaf.payload, leaf.payload_commitment),
    ):
        plaintext = unseal(record_key(chain, salt, label), sealed, bound_to(journal, leaf.place))
        if commitment(label, plaintext) != committed:
            raise NotReadable("record_altered", f"{record} is not what its commitment says")
        opened.append(plaintext[32:])
    metadata = msgspec.json.decode(opened[0], type=Opened | Noted | Closed)
    payload = msgspec.json.decode(opened[1], type=Payload) if opened[1] else None
    return Record(record=record, metadata=metadata, payload=payload)
