"""What is sealed in a record, and how. Shared by the writer, the reader and whoever releases a record.

A record's key comes from the chain key of its place and from what the salt of its row contributes to it, so that one
record can be released to an auditor without the salt, and destroying the salt closes all of them.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec
from msgspec import Struct

from compliance.crypto import NONCE, Unauthentic, fresh, kdf, seal, unseal
from compliance.verify.leaf import COMMITTED, HEADER, Leaf, Place, metadata_commitment, seal_commitment
from policies.facts import Call, Finding, Obligation, Outcome

__all__ = [
    "Closed",
    "Metadata",
    "Noted",
    "Opened",
    "Sealed",
    "Step",
    "contribution",
    "epoch_info",
    "open_record",
    "public",
    "record_key",
    "seal_record",
    "step",
    "unmasked",
]

_OPENING = 32
_MIN_BUCKET = 256


class Opened(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="record", tag="opened"):
    """A call and the decision on it: every rule that was asked, in full those that were against, and the obligations.

    The subject of the call stands here under a pseudonym, which changes from month to month and dies with its salt.
    """

    call: Call
    model: dict[str, str]  # name, version, digest, licence
    policy: str
    allowed: bool
    rules: tuple[str, ...]
    against: tuple[Finding, ...]
    obligations: tuple[Obligation, ...] = ()


class Noted(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="record", tag="noted"):
    at: int
    kind: str
    data: dict[str, Any]


class Closed(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="record", tag="closed"):
    at: int
    call: str
    outcome: Outcome


Metadata = Opened | Noted | Closed


class Step(NamedTuple):
    """What the chain key of a place gives: the next chain key (32 bytes) and the mask of the row (16 bytes)."""

    chain: bytes
    mask: bytes


class Sealed(NamedTuple):
    """A record as it was opened: its metadata as written, and its payload (MessagePack, or empty)."""

    opening: bytes
    metadata_json: bytes
    payload: bytes

    def metadata(self) -> Metadata:
        """Raises msgspec.MsgspecError when it is none of this version."""
        return msgspec.json.decode(self.metadata_json, type=Opened | Noted | Closed)


def step(chain: bytes) -> Step:
    """The ratchet: nobody can go back from the chain key of a record to the one before."""
    output = kdf(chain, b"\x00")
    return Step(output[:32], output[32:48])


def unmasked(row: bytes, mask: bytes) -> bytes:
    """A row from its masked form, or the other way round, so that rows do not link records in public."""
    return (int.from_bytes(row, "big") ^ int.from_bytes(mask, "big")).to_bytes(16, "big")


def contribution(salt: bytes, journal: bytes, shard: int, sequence: int) -> bytes:
    """What a salt contributes to the key of one record, 32 bytes. `journal` is its id, 16 bytes."""
    return kdf(salt, b"\x01", journal + shard.to_bytes(2, "big") + sequence.to_bytes(8, "big"))[:32]


def record_key(chain: bytes, contributed: bytes) -> bytes:
    """The key of one record, 32 bytes; it opens no other."""
    return kdf(chain, b"\x02", contributed)[:32]


def seal_record(
    place: Place, journal: bytes, chain: bytes, contributed: bytes, metadata: bytes, payload: bytes
) -> bytes:
    """The body of a sealed record: its header, and behind it the ciphertext of metadata and payload."""
    key = record_key(chain, contributed)
    random = fresh(NONCE + _OPENING)
    opening = random[NONCE:]
    length = _OPENING + 4 + len(metadata) + len(payload)
    plaintext = b"".join(
        (opening, len(metadata).to_bytes(4, "big"), metadata, payload, b"\x80", bytes(_bucket(length + 1) - length - 1))
    )
    start = place.packed() + metadata_commitment(opening, metadata)
    bound = journal + start
    sealed = seal(key, random[:NONCE], plaintext, bound)
    return b"".join((start, seal_commitment(key, sealed, bound), sealed))


def open_record(body: bytes, journal: bytes, chain: bytes, contributed: bytes) -> Sealed:
    """The content of a sealed record. Raises Unauthentic when it does not open, or is not what was committed to."""
    leaf = Leaf.parsed(body)
    key = record_key(chain, contributed)
    bound = journal + body[:COMMITTED]
    plaintext = unseal(key, leaf.content, bound).rstrip(b"\x00")[:-1]
    middle = _OPENING + 4 + int.from_bytes(plaintext[_OPENING : _OPENING + 4], "big")
    opening, metadata = plaintext[:_OPENING], plaintext[_OPENING + 4 : middle]
    committed = metadata_commitment(opening, metadata), seal_commitment(key, leaf.content, bound)
    if committed != (leaf.metadata_commitment, leaf.seal_commitment):
        raise Unauthentic("ciphertext", "the record is not what its commitments say")
    return Sealed(opening, metadata, plaintext[middle:])


def epoch_info(place: Place, journal: bytes) -> bytes:
    """What the sealed key of an epoch is bound to (the `info` of HPKE)."""
    return b"sealpress.epoch/1\x00" + journal + place.packed()


def public(place: Place, content: bytes) -> bytes:
    """The body of an EPOCH or a GAP, which are not sealed."""
    start = place.packed()
    return start + bytes(HEADER - len(start)) + content


def _bucket(length: int) -> int:
    """Padmé (Nikitin et al., Reducing Metadata Leakage from Encrypted Files, PETS 2019): at most 12 % are added."""
    if length <= _MIN_BUCKET:
        return _MIN_BUCKET
    exponent = length.bit_length() - 1
    low = exponent - exponent.bit_length()
    return (length + (1 << low) - 1) >> low << low
