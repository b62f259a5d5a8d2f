"""What is sealed in a record: the metadata of a call and its keys. Shared by the writer and the reader."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from compliance.crypto import derive
from compliance.verify.leaf import Place
from policies.facts import Call, Finding, Outcome

__all__ = ["Closed", "Noted", "Opened", "bound_to", "epoch_info", "masked_row", "next_chain", "record_key"]


class Opened(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="record", tag="opened"):
    """A call and the decision on it: every rule that was asked, and in full those that were against."""

    call: Call
    model: dict[str, str]  # name, version, digest, licence
    policy: str
    allowed: bool
    rules: tuple[str, ...]
    against: tuple[Finding, ...]


class Noted(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="record", tag="noted"):
    at: int
    kind: str
    data: dict[str, Any]


class Closed(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="record", tag="closed"):
    at: int
    call: str
    outcome: Outcome


def epoch_info(journal: str, place: Place) -> bytes:
    """What the sealed key of an epoch is bound to (the `info` of HPKE)."""
    return b"epoch\0" + bound_to(journal, place)


def bound_to(journal: str, place: Place) -> bytes:
    """What a ciphertext is bound to: its journal and its place in it."""
    return journal.encode() + b"\0" + place.packed()


def record_key(chain: bytes, salt: bytes, part: bytes) -> bytes:
    """The key of one part of one record, from the chain key of its place and the salt of its row."""
    return derive(chain, part, salt)


def masked_row(chain: bytes, row: bytes) -> bytes:
    """The row of a record, readable only with its chain key, so that rows do not link records in public."""
    mask = derive(chain, b"row")[: len(row)]
    return (int.from_bytes(row, "big") ^ int.from_bytes(mask, "big")).to_bytes(len(row), "big")


def next_chain(chain: bytes) -> bytes:
    """The ratchet: nobody can go back from the key of a record to the one before."""
    return derive(chain, b"next")
