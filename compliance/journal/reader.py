"""Read the journal with the private key of an auditor: where its salts are, or with what was released of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal, NamedTuple

import msgspec
from msgspec import Struct

from compliance.crypto import Opener, Unauthentic
from compliance.journal.errors import NotReadable
from compliance.journal.records import Metadata, Sealed, contribution, epoch_info, open_record, step, unmasked
from compliance.state.salts import Salts
from compliance.verify.heads import being_written
from compliance.verify.journal import shards
from compliance.verify.leaf import (
    ALLOWED,
    CLOSED,
    EPOCH,
    NOBODY,
    NOTED,
    REFUSED,
    SEALED,
    Broken,
    Epoch,
    Leaf,
    frames,
    record_name,
)
from compliance.verify.note import regular
from policies.payload import Payload

__all__ = [
    "KINDS",
    "Contributions",
    "Kind",
    "Located",
    "Record",
    "Source",
    "Unread",
    "Walk",
    "leaves",
    "measured",
    "read",
]

Kind = Literal["allowed", "refused", "noted", "closed"]
Unread = Literal["erased", "other_auditor", "not_released"]
# what salts contribute to the keys of single records, by shard and sequence
Contributions = Mapping[tuple[int, int], bytes]
Source = Salts | Contributions

KINDS: Mapping[int, Kind] = {ALLOWED: "allowed", REFUSED: "refused", NOTED: "noted", CLOSED: "closed"}


class Record(Struct, frozen=True, kw_only=True):
    """One record, opened unless `unread` says why not: then kind and `of`, the call it belongs to, are all there is."""

    record: str
    kind: Kind
    of: str | None = None
    metadata: Metadata | None = None
    payload: Payload | None = None
    unread: Unread | None = None


class Located(NamedTuple):
    """A sealed record where it stands, and what opens it besides its salt: the chain key of its place.

    `row` names the salt (16 bytes). Both are empty where the epoch was sealed to other auditors only.
    """

    journal: bytes
    body: bytes
    leaf: Leaf
    chain: bytes
    row: bytes

    @property
    def place(self) -> tuple[int, int]:
        return self.leaf.shard, self.leaf.sequence

    @property
    def name(self) -> str:
        return record_name(*self.place)

    def contributed(self, source: Source) -> bytes | None:
        """What the salt contributes to the key of this record, or None when the source does not have it."""
        if not isinstance(source, Salts):
            return source.get(self.place)
        salt = source.salt(self.row)
        return None if salt is None else contribution(salt, self.journal, *self.place)

    def opened(self, source: Source) -> Record:
        """The record, as far as the source opens it. Raises NotReadable: record_altered, StateError."""
        sealed = self.unsealed(source)
        if not isinstance(sealed, Sealed):
            return self._record(unread=sealed)
        try:
            payload = msgspec.msgpack.decode(sealed.payload, type=Payload) if sealed.payload else None
            return self._record(metadata=sealed.metadata(), payload=payload)
        except msgspec.MsgspecError:
            raise _altered(self.name) from None

    def unsealed(self, source: Source) -> Sealed | Unread:
        """What is in the record as it was written, or why that cannot be read. Raises as `opened` does."""
        if not self.chain:
            return "other_auditor"
        contributed = self.contributed(source)
        if contributed is None:
            return "erased" if isinstance(source, Salts) else "not_released"
        try:
            return open_record(self.body, self.journal, self.chain, contributed)
        except Unauthentic:
            raise _altered(self.name) from None

    def _record(
        self, metadata: Metadata | None = None, payload: Payload | None = None, unread: Unread | None = None
    ) -> Record:
        of = self.leaf.of_shard, self.leaf.of_sequence
        return Record(
            record=self.name,
            kind=KINDS[self.leaf.kind],
            of=None if of == NOBODY else record_name(*of),
            metadata=metadata,
            payload=payload,
            unread=unread,
        )


class Walk:
    """The sealed records of a journal, shard by shard in the order of writing, with what opens them.

    It ends where the logs end when it is made, so that it is the same each time. Verify the journal first: walking
    alone does not show that records are missing. Going over it raises NotReadable: epoch_sealed when nothing was ever
    sealed to this auditor, record_altered.
    """

    def __init__(self, directory: Path, id_: str, opener: Opener) -> None:
        self.journal = bytes.fromhex(id_)
        self._opener = opener
        self.auditor = opener.fingerprint.hex()
        self._directory = directory
        self._logs = [(path, measured(path)) for path in (directory / f"{name}.log" for name in shards(directory))]

    def anew(self) -> Walk:
        """The same to where the logs end now."""
        return Walk(self._directory, self.journal.hex(), self._opener)

    def __iter__(self) -> Iterator[Located]:
        self._check_ours()
        for path, size in self._logs:
            chain = b""
            for body, leaf in leaves(path, size):
                if leaf.kind == EPOCH:
                    chain = self._opened(leaf)
                elif leaf.kind in SEALED and chain:
                    following = step(chain)
                    yield Located(self.journal, body, leaf, chain, unmasked(leaf.row, following.mask))
                    chain = following.chain
                elif leaf.kind in SEALED:
                    yield Located(self.journal, body, leaf, b"", b"")

    def _check_ours(self) -> None:
        """Most often the first record says that the key is right, and no more are read."""
        foreign = ""
        for path, size in self._logs:
            for _, leaf in leaves(path, size):
                if leaf.kind == EPOCH:
                    if self._sealed(leaf) is not None:
                        return
                    foreign = foreign or record_name(leaf.shard, leaf.sequence)
        if foreign:
            raise NotReadable("epoch_sealed", f"{foreign} and all later epochs are sealed to other auditors")

    def _sealed(self, leaf: Leaf) -> bytes | None:
        """The key of an epoch as it was sealed to this auditor, or None when it was not."""
        try:
            return dict(Epoch.parsed(leaf.content).sealed).get(self._opener.fingerprint)
        except Broken:
            raise _altered(record_name(leaf.shard, leaf.sequence)) from None

    def _opened(self, leaf: Leaf) -> bytes:
        """The chain key with which an epoch begins, empty when it is not for this auditor."""
        sealed = self._sealed(leaf)
        try:
            return b"" if sealed is None else self._opener.open(sealed, epoch_info(leaf.place, self.journal))
        except Unauthentic:
            raise _altered(record_name(leaf.shard, leaf.sequence)) from None


def read(directory: Path, id_: str, opener: Opener, source: Source) -> Iterator[Record]:
    """Every record that holds something, opened as far as the source goes: the salts, or what was released of them.

    Raises what Walk does, StateError.
    """
    return (located.opened(source) for located in Walk(directory, id_, opener))


def leaves(path: Path, size: int) -> Iterator[tuple[bytes, Leaf]]:
    """The records in the first bytes of a log. Raises NotReadable: record_altered."""
    try:
        with regular(path) as file:
            for body, _, _ in frames(file.read, size):
                yield body, Leaf.parsed(body)
    except Broken as broken:
        # what a process was writing when the log was measured
        if broken.code != "record_truncated" or not being_written(path, size):
            raise NotReadable("record_altered", f"{path.name}: a record cannot be read ({broken.code})") from None


def measured(path: Path) -> int:
    """How many bytes a log has now. Raises NotReadable: record_altered when there is none."""
    try:
        with regular(path) as file:
            return file.seek(0, 2)
    except FileNotFoundError:
        raise NotReadable("record_altered", f"{path.name} is missing") from None


def _altered(record: str) -> NotReadable:
    return NotReadable("record_altered", f"{record} does not open, though its key is right")
