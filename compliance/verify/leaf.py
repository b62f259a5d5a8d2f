"""A record of journal format 1, byte by byte as docs/formats.md has it, for writer, reader and verifier alike."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from hashlib import sha256
from typing import NamedTuple

from compliance.crypto import NONCE, TAG

__all__ = [
    "ALLOWED",
    "CLOSED",
    "COMMITTED",
    "EPOCH",
    "FORMAT",
    "FRAME",
    "GAP",
    "HEADER",
    "MAX_AUDITORS",
    "MAX_BODY",
    "NOBODY",
    "NOTED",
    "PLACE",
    "PLACED",
    "REFUSED",
    "SEALED",
    "Broken",
    "Epoch",
    "Gap",
    "Leaf",
    "Place",
    "framed",
    "frames",
    "metadata_commitment",
    "read_frame",
    "record_name",
    "seal_commitment",
    "shard_name",
]

FORMAT = 1
EPOCH, ALLOWED, REFUSED, NOTED, CLOSED, GAP = range(1, 7)
SEALED = frozenset({ALLOWED, REFUSED, NOTED, CLOSED})
# the `of` of a record that belongs to no other
NOBODY = (65_535, 0)
MAX_BODY = 96_000_000
MAX_AUDITORS = 16

_LENGTH = struct.Struct(">I")
_CHECK = 8
FRAME = _LENGTH.size + _CHECK
_PLACE = struct.Struct(">BBHQIHQ16s")
_HEADER = struct.Struct(">BBHQIHQ16s32s32s")
# a place up to its row: format, kind, shard, sequence, epoch, of shard, of sequence
PLACED = struct.Struct(">BBHQIHQ")
PLACE, HEADER = _PLACE.size, _HEADER.size
_LEAST = HEADER + FRAME
# how much of the header the seal is bound to: all but the commitment to itself
COMMITTED = HEADER - 32
_EPOCH = struct.Struct(">Q16sB")
_GAP = struct.Struct(">QQQQ")
_CHUNK = 128_000
_FINGERPRINT, _SEALED_KEY = 32, 1168


class Broken(Exception):
    """Something of a journal that does not hold; `code` is one of those that NotVerified lists."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class Place(NamedTuple):
    """Where a record stands, and to which it belongs. Known before anything is sealed."""

    kind: int
    shard: int
    sequence: int
    epoch: int
    of_shard: int = NOBODY[0]
    of_sequence: int = NOBODY[1]
    row: bytes = bytes(16)

    def packed(self) -> bytes:
        return _PLACE.pack(FORMAT, *self)


class Leaf(NamedTuple):
    """One record without its frame."""

    kind: int
    shard: int
    sequence: int
    epoch: int
    of_shard: int
    of_sequence: int
    row: bytes
    metadata_commitment: bytes
    seal_commitment: bytes
    content: bytes

    @classmethod
    def parsed(cls, body: bytes) -> Leaf:
        """Raises Broken: record_format. The body has at least the length of a header."""
        form, *fields = _HEADER.unpack_from(body)
        if form != FORMAT:
            raise Broken("record_format")
        return cls._make((*fields, body[HEADER:]))

    @property
    def place(self) -> Place:
        return Place(*self[:7])


class Epoch(NamedTuple):
    """The content of an EPOCH record: the key of the epoch, sealed for each auditor by the fingerprint of their key."""

    at: int
    writer: bytes
    sealed: tuple[tuple[bytes, bytes], ...]

    def packed(self) -> bytes:
        start = _EPOCH.pack(self.at, self.writer, len(self.sealed))
        return start + b"".join(fingerprint + sealed for fingerprint, sealed in self.sealed)

    @classmethod
    def parsed(cls, content: bytes) -> Epoch:
        """Raises Broken: record_malformed."""
        if len(content) < _EPOCH.size:
            raise Broken("record_malformed")
        at, writer, count = _EPOCH.unpack_from(content)
        each = _FINGERPRINT + _SEALED_KEY
        if not 1 <= count <= MAX_AUDITORS or len(content) != _EPOCH.size + count * each:
            raise Broken("record_malformed")
        starts = range(_EPOCH.size, len(content), each)
        return cls(at, writer, tuple((content[i : i + 32], content[i + 32 : i + each]) for i in starts))


class Gap(NamedTuple):
    """The content of a GAP record: what a writer dropped when it took a shard after a crash, and what was unsigned."""

    at: int
    log_bytes: int
    head_bytes: int
    unsigned: int

    def packed(self) -> bytes:
        return _GAP.pack(*self)

    @classmethod
    def parsed(cls, content: bytes) -> Gap:
        """Raises Broken: record_malformed."""
        if len(content) != _GAP.size:
            raise Broken("record_malformed")
        return cls(*_GAP.unpack(content))


def metadata_commitment(opening: bytes, metadata: bytes) -> bytes:
    """Hides the metadata until the opening (32 random bytes) is shown with them."""
    return sha256(b"\x02" + opening + metadata).digest()


def seal_commitment(key: bytes, sealed: bytes, bound: bytes) -> bytes:
    """Binds a ciphertext to its key, which AES-GCM does not (CTX: Chan and Rogaway, ESORICS 2022)."""
    return sha256(b"\x03" + key + sealed[:NONCE] + sealed[-TAG:] + bound).digest()


def framed(body: bytes, leaf_hash: bytes) -> bytes:
    return b"".join((_LENGTH.pack(len(body)), body, leaf_hash[:_CHECK]))


def read_frame(log: bytes | memoryview, offset: int) -> tuple[bytes, bytes, int]:
    """The body at an offset, its leaf hash, and the offset behind the record.

    Raises Broken: record_truncated, record_length, record_check.
    """
    left = len(log) - offset
    if left < HEADER + FRAME:
        raise Broken("record_truncated")
    (length,) = _LENGTH.unpack_from(log, offset)
    if not HEADER <= length <= MAX_BODY:
        raise Broken("record_length")
    if left < length + FRAME:
        raise Broken("record_truncated")
    start = offset + 4
    end = start + length
    body = bytes(log[start:end])
    leaf_hash = sha256(b"\x00" + body).digest()
    if leaf_hash[:_CHECK] != log[end : end + _CHECK]:
        raise Broken("record_check")
    return body, leaf_hash, end + _CHECK


def frames(
    read: Callable[[int], bytes], size: int, progress: Callable[[int], None] = lambda _: None
) -> Iterator[tuple[bytes, bytes, int]]:
    """Every record of a log of this size (bytes), as `read_frame` gives them. `read` gives up to so many bytes more,
    and `progress` hears how many they were.

    It is read and not mapped: when a file that is mapped is cut, the process that looks at it is killed.
    """
    log, offset, start = b"", 0, 0
    while start + offset < size:
        # what read_frame does, without a call and an error for each record or chunk: this is most of a verification
        while (left := len(log) - offset) >= _LEAST:
            (length,) = _LENGTH.unpack_from(log, offset)
            if not HEADER <= length <= MAX_BODY:
                raise Broken("record_length")
            if left < length + FRAME:
                break
            end = offset + 4 + length
            body = log[offset + 4 : end]
            leaf_hash = sha256(b"\x00" + body).digest()
            offset = end + _CHECK
            if leaf_hash[:_CHECK] != log[end:offset]:
                raise Broken("record_check")
            yield body, leaf_hash, start + offset
        if start + offset < size:
            rest = log[offset:]
            # a record may be longer than a chunk; then the next one is as long as all that was read of it
            more = read(min(size - start - len(log), max(_CHUNK, len(rest))))
            if not more:
                raise Broken("record_truncated")
            progress(len(more))
            log, offset, start = rest + more, 0, start + offset


def shard_name(number: int) -> str:
    return f"shard-{number:03d}"


def record_name(shard: int, sequence: int) -> str:
    return f"shard-{shard:03d}/{sequence}"
