"""Consents: who agreed to which purpose, since when, and whether they still do.

What a consent says is sealed under a salt of its own subject (compliance.state.salts, class `consent`), so that erasing
the person closes it, too. The store itself tells receipts, times of withdrawal, and nothing of anybody.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import ClassVar

import msgspec
from msgspec import Struct, structs

from compliance.crypto import NONCE, Unauthentic, derive, fresh, seal, unseal
from compliance.state.errors import StateError
from compliance.state.salts import Salts
from compliance.state.store import Store
from policies.errors import Refused
from policies.facts import Consented

__all__ = ["CLASS", "Consent", "ConsentError", "Consents", "Terms"]

NAME = "consents.sqlite"
FORMAT = 1
CLASS = "consent"

_SCHEMA = (
    "CREATE TABLE consents (receipt TEXT PRIMARY KEY, row BLOB NOT NULL, sealed BLOB NOT NULL, withdrawn INTEGER)"
    " STRICT, WITHOUT ROWID",
    "CREATE INDEX consents_by_row ON consents (row)",
)


class ConsentError(Refused):
    """A consent that cannot be recorded, or is not there."""

    hints: ClassVar[Mapping[str, str]] = {
        "consent_purpose": "Declare the purpose in the settings, with consent among its bases, before asking for it.",
        "consent_unknown": "`sealpress consent show --subject ID` lists the consents of a person with their receipts.",
    }


class Terms(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a person agreed to. Times are in nanoseconds since 1970; `wording` is the SHA-256 of the text, in hex."""

    purpose: str
    at: int
    expires: int | None = None
    explicit: bool = False
    guardian: bool = False
    wording: str | None = None


class _Sealed(Terms, frozen=True, kw_only=True, forbid_unknown_fields=True):
    tenant: str


class Consent(Terms, frozen=True, kw_only=True):
    """One consent, under its receipt."""

    receipt: str
    withdrawn: int | None = None

    @classmethod
    def to(cls, terms: Terms) -> Consent:
        """A consent to these terms under a new receipt, to be put on record before it is kept."""
        return cls(receipt=fresh(16).hex(), **structs.asdict(terms))

    def stands(self, at: int) -> bool:
        return self.withdrawn is None and self.at <= at and (self.expires is None or at < self.expires)


class Consents:
    """The store in a folder `state`, made with the first consent. Safe for threads, and over fork."""

    def __init__(self, state: Path) -> None:
        self._store = Store(state / NAME, FORMAT, _SCHEMA)

    def record(self, salts: Salts, tenant: str, subject: str, consent: Consent) -> None:
        """Keep a new consent; from here on it stands. Raises StateError."""
        row, salt = salts.for_call(tenant, subject, CLASS, consent.purpose, "")
        terms = {name: getattr(consent, name) for name in Terms.__struct_fields__}
        content = msgspec.msgpack.encode(_Sealed(tenant=tenant, **terms))
        sealed = seal(_key(salt), fresh(NONCE), content, consent.receipt.encode())
        with self._store.reported():
            self._store.make()
            with self._opened() as table:
                table.execute("INSERT INTO consents VALUES (?, ?, ?, NULL)", (consent.receipt, row, sealed))

    def withdraw(
        self, salts: Salts, tenant: str, subject: str, purpose: str, receipt: str | None, at: int
    ) -> list[Consent]:
        """Withdraw what a person agreed to for a purpose, all of it or one receipt; from the next call on.

        Raises ConsentError when there is nothing to withdraw, StateError.
        """
        standing = [
            one
            for one in self.of(salts, tenant, subject, purpose)
            if one.withdrawn is None and receipt in (None, one.receipt)
        ]
        if not standing:
            raise ConsentError("consent_unknown", "there is no such consent that could be withdrawn")
        with self._store.reported(), self._opened() as table:
            table.execute("BEGIN IMMEDIATE")
            with table:
                for one in standing:
                    update = "UPDATE consents SET withdrawn = coalesce(withdrawn, ?) WHERE receipt = ?"
                    table.execute(update, (at, one.receipt))
        return [structs.replace(one, withdrawn=at) for one in standing]

    def of(self, salts: Salts, tenant: str, subject: str, purpose: str | None = None) -> list[Consent]:
        """The consents of a person, the oldest first. Raises StateError."""
        if not self._store.exists():
            return []
        found: list[Consent] = []
        with self._store.reported(), self._opened() as table:
            for row in salts.rows_of(tenant, subject, CLASS):
                found += _read(table, salts, tenant, "row = ?", row)
        return sorted((one for one in found if purpose in (None, one.purpose)), key=lambda one: (one.at, one.receipt))

    def standing(
        self, salts: Salts, tenant: str, purpose: str, subject: str | None, receipt: str | None, at: int
    ) -> Consented | None:
        """The consent that stands for a call of this purpose: that of its receipt, else the newest of its subject.

        A receipt of another purpose, another subject or another tenant is none. Raises StateError.
        """
        if not self._store.exists() or (subject is None and receipt is None):
            return None
        if subject is not None:
            found = self.of(salts, tenant, subject, purpose)
        else:
            with self._store.reported(), self._opened() as table:
                found = [one for one in _read(table, salts, tenant, "receipt = ?", receipt) if one.purpose == purpose]
        for one in reversed(found):
            if one.stands(at) and receipt in (None, one.receipt):
                return Consented(receipt=one.receipt, explicit=one.explicit, guardian=one.guardian)
        return None

    def image(self) -> bytes | None:
        """The store as one file; None when no consent was ever recorded. Raises StateError."""
        return self._store.image()

    def restore(self, image: bytes) -> None:
        """Make the store from such a file, where there is none. Raises StateError."""
        self._store.restore(image)

    @contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        # opened anew for each use: it is asked from many threads, and after forks
        with closing(self._store.connected()) as table:
            yield table


def _read(table: sqlite3.Connection, salts: Salts, tenant: str, where: str, value: object) -> list[Consent]:
    """The consents that still open: those of an erased person do not."""
    found = []
    select = f"SELECT receipt, row, sealed, withdrawn FROM consents WHERE {where}"  # noqa: S608 - a column of ours
    for receipt, row, sealed, withdrawn in table.execute(select, (value,)).fetchall():
        salt = salts.salt(row)
        if salt is None:
            continue
        try:
            said = msgspec.msgpack.decode(unseal(_key(salt), sealed, receipt.encode()), type=_Sealed)
        except (Unauthentic, msgspec.MsgspecError):
            raise StateError("state_broken", f"the consent {receipt} is not what was recorded") from None
        if said.tenant == tenant:
            terms = {name: getattr(said, name) for name in Terms.__struct_fields__}
            found.append(Consent(receipt=receipt, withdrawn=withdrawn, **terms))
    return found


def _key(salt: bytes) -> bytes:
    return derive(salt, b"consent")
