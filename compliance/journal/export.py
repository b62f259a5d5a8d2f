"""What was recorded of a person, for that person (GDPR Art. 15): each record in clear, and the proof that it stands so.

The proof shows the sealed record in the signed tree, and the key opens it, so that a stranger can check that this, and
nothing else, is what the journal holds. The key of a record opens no other.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from msgspec import Raw, Struct

from compliance.journal.errors import NotReadable
from compliance.journal.reader import Kind, Located, Walk
from compliance.journal.receipts import redeemed
from compliance.journal.records import Metadata, record_key
from compliance.state.salts import Salts
from compliance.verify.keyring import Keyring
from compliance.verify.receipt import Receipt
from policies.payload import Payload

__all__ = ["Exported", "export"]


class Exported(Struct, frozen=True, kw_only=True):
    """A record as it is read, its key (32 bytes), and its proof, None as long as no signed head covers it."""

    record: str
    kind: Kind
    of: str | None
    metadata: Metadata | None
    payload: Payload | None
    key: bytes
    proof: Raw | None


def export(directory: Path, walk: Walk, salts: Salts, rows: frozenset[bytes], keyring: Keyring) -> Iterator[Exported]:
    """The records of these rows, as far as they can be read. Raises what Walk does, StateError, JournalError."""
    for located in walk:
        if located.row in rows:
            contributed = located.contributed(salts)
            if contributed is not None:
                opened = located.opened(salts)
                yield Exported(
                    record=opened.record,
                    kind=opened.kind,
                    of=opened.of,
                    metadata=opened.metadata,
                    payload=opened.payload,
                    key=record_key(located.chain, contributed),
                    proof=_proof(directory, located, keyring),
                )


def _proof(directory: Path, located: Located, keyring: Keyring) -> Raw | None:
    try:
        receipt = Receipt.parsed(redeemed(directory, keyring, [located.place]))
    except NotReadable:
        return None
    return Raw(replace(receipt, records=(replace(receipt.records[0], body=located.body),)).packed())
