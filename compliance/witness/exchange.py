"""What passes between a box and its witness: one JSON document each way, described in docs/witness.md."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

__all__ = ["MAX_DOCUMENT", "MAX_SHARDS", "Exchange", "Seen", "Size"]

# a thousand shards with a proof of 63 hashes each, in base64
MAX_DOCUMENT = 4_000_000
MAX_SHARDS = 1000
MAX_REVOCATIONS = 1000

Hash = Annotated[bytes, Meta(min_length=32, max_length=32)]
Size = tuple[Annotated[int, Meta(ge=0, le=2**53 - 1)], Hash]
Proof = Annotated[tuple[Hash, ...], Meta(max_length=64)]


class Exchange(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A joint head for a witness.

    `old` holds size and root of each shard that the witness saw last, as they are in this journal, and `proofs` the
    consistency proof (RFC 9162 section 2.1.4) from there to the head.
    """

    format: Literal[1]
    head: str
    certificate: str
    revocations: Annotated[tuple[str, ...], Meta(max_length=MAX_REVOCATIONS)]
    old: Annotated[tuple[Size, ...], Meta(max_length=MAX_SHARDS)]
    proofs: Annotated[tuple[Proof, ...], Meta(max_length=MAX_SHARDS)]


class Seen(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A joint head that a witness has co-signed, and the certificate of the key that signed it on the box."""

    format: Literal[1]
    head: str
    certificate: str
