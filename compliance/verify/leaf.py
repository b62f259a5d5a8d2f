"""Journal format 0: what a record is, byte by byte. Shared by the writer, the reader and the verifier.

    record   length (4, of the body) | body | check (16, the start of SHA-256 over length and body)
    body     place (42) | commitment to the metadata (32) | commitment to the payload (32)
             | length of metadata (4) | length of payload (4) | metadata | payload
    place    format (1) | kind (1) | shard (2) | sequence (8) | epoch (4) | of shard (2) | of sequence (8) | row (16)

All numbers are unsigned, most significant byte first. In ALLOWED, REFUSED, NOTED and CLOSED leaves metadata and
payload are ciphertexts bound to the place, and a commitment is SHA-256 over a label, the 32-byte opening that comes
first inside the plaintext, and the rest of the plaintext. EPOCH and GAP leaves are public. `of` names the leaf that
a NOTED or CLOSED one belongs to. The check finds rot and torn writes; forgery is found by the tree and the heads.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import NamedTuple

from compliance.crypto import sha256

__all__ = [
    "ALLOWED",
    "CLOSED",
    "EPOCH",
    "GAP",
    "MAX_BODY",
    "NOTED",
    "REFUSED",
    "Broken",
    "Leaf",
    "Place",
    "commitment",
    "framed",
    "unframed",
]

FORMAT = 0
EPOCH, ALLOWED, REFUSED, NOTED, CLOSED, GAP = range(1, 7)
MAX_BODY = 96_000_000

_LENGTH = struct.Struct(">I")
_PLACE = struct.Struct(">BBHQIHQ16s")
_REST = struct.Struct(">32s32sII")
_HEADER = _PLACE.size + _REST.size
_CHECK = 16


class Broken(Exception):
    """A record that cannot be read; `code` is one of those that NotVerified lists."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class Place(NamedTuple):
    """Where a leaf stands, and to which leaf it belongs. Known before anything is sealed."""

    kind: int
    shard: int
    sequence: int
    epoch: int
    of_shard: int = 0
    of_sequence: int = 0
    row: bytes = bytes(16)

    def packed(self) -> bytes:
        return _PLACE.pack(FORMAT, *self)


@dataclass(frozen=True, slots=True)
class Leaf:
    """One record without its frame."""

    place: Place
    metadata: bytes
    payload: bytes
    metadata_commitment: bytes = bytes(32)
    payload_commitment: bytes = bytes(32)

    def body(self) -> bytes:
        rest = _REST.pack(self.metadata_commitment, self.payload_commitment, len(self.metadata), len(self.payload))
        return b"".join((self.place.packed(), rest, self.metadata, self.payload))

    @classmethod
    def parsed(cls, body: bytes) -> Leaf:
        """Raises Broken when the body is not a leaf of this format."""
        if len(body) < _HEADER:
            raise Broken("record_malformed")
        form, *place = _PLACE.unpack_from(body)
        if form != FORMAT:
            raise Broken("record_format")
        for_metadata, for_payload, metadata, payload = _REST.unpack_from(body, _PLACE.size)
        middle = _HEADER + metadata
        if len(body) != middle + payload:
            raise Broken("record_malformed")
        return cls(Place(*place), body[_HEADER:middle], body[middle:], for_metadata, for_payload)


def commitment(label: bytes, plaintext: bytes) -> bytes:
    return sha256(label, b"\0", plaintext)


def framed(body: bytes) -> bytes:
    length = _LENGTH.pack(len(body))
    return b"".join((length, body, sha256(length, body)[:_CHECK]))


def unframed(log: memoryview, offset: int) -> tuple[bytes, int]:
    """The body at an offset and the offset behind it. Raises Broken: record_truncated, record_length, record_check."""
    if len(log) - offset < _LENGTH.size:
        raise Broken("record_truncated")
    (length,) = _LENGTH.unpack_from(log, offset)
    if length > MAX_BODY:
        raise Broken("record_length")
    start = offset + _LENGTH.size
    end = start + length + _CHECK
    if end > len(log):
        raise Broken("record_truncated")
    body = bytes(log[start : end - _CHECK])
    if sha256(log[offset:start], body)[:_CHECK] != log[end - _CHECK : end]:
        raise Broken("record_check")
    return body, end
