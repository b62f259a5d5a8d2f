"""The API keys of a box: who may ask its server, under which defaults, and until when.

A key is written `sp_<id>_<secret>`, the secret being 256 random bits. It is found by its id, and kept as HMAC-SHA256
over id and secret. The key of that HMAC lies in the same file: a secret of 256 bits cannot be guessed, so the HMAC
need not hide it from whoever holds the file; it makes the hashes of one box worthless on every other one, and keeps
the store one file that is copied and restored as a whole.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from msgspec import Struct

from compliance.crypto import Unauthentic, derive, fresh, same
from compliance.state.store import Store
from policies.errors import Refused

__all__ = ["ApiKey", "ApiKeyError", "ApiKeys"]

NAME = "api_keys.sqlite"
FORMAT = 1

_TOKEN = re.compile(r"sp_([0-9a-f]{16})_([0-9a-f]{64})")
_SCHEMA = (
    "CREATE TABLE secret (key BLOB NOT NULL) STRICT",
    "CREATE TABLE keys (id TEXT PRIMARY KEY, hash BLOB NOT NULL, purpose TEXT, basis TEXT, made INTEGER NOT NULL,"
    " expires INTEGER, revoked INTEGER) STRICT, WITHOUT ROWID",
)


class ApiKeyError(Refused):
    """A key that opens nothing here."""

    hints: ClassVar[Mapping[str, str]] = {
        "api_key_missing": "Send the header `Authorization: Bearer KEY`; `sealpress key create` makes a key.",
        "api_key_unknown": "Check that the key is complete and belongs to this box; `sealpress key create` makes one.",
        "api_key_expired": "Ask the operator for a new key: this one was made for a limited time, which is over.",
        "api_key_revoked": "Ask the operator for a new key: this one was withdrawn.",
    }


class ApiKey(Struct, frozen=True, kw_only=True):
    """What is known of a key, its secret excepted. Times are in nanoseconds since 1970.

    `purpose` and `basis` hold for every call that names none of its own.
    """

    id: str
    made: int
    purpose: str | None = None
    basis: str | None = None
    expires: int | None = None
    revoked: int | None = None


class ApiKeys:
    """The store in a folder `state`, made with the first key. One object belongs to one thread."""

    def __init__(self, state: Path) -> None:
        self._store = Store(state / NAME, FORMAT, _SCHEMA)
        self._table: sqlite3.Connection | None = None
        self._secret = b""
        self._version = -1
        self._known: dict[str, tuple[ApiKey, bytes]] = {}

    def create(
        self, now: int, *, purpose: str | None = None, basis: str | None = None, expires: int | None = None
    ) -> tuple[ApiKey, str]:
        """A new key, and the text of it, which is kept nowhere. Raises StateError."""
        key = ApiKey(id=fresh(8).hex(), made=now, purpose=purpose, basis=basis, expires=expires)
        text = f"sp_{key.id}_{fresh().hex()}"
        with self._store.reported():
            self._store.make()
            table = self._opened()
            row = (key.id, _hashed(self._secret, text), purpose, basis, now, expires, None)
            table.execute("INSERT INTO keys VALUES (?, ?, ?, ?, ?, ?, ?)", row)
        return key, text

    def revoke(self, id_: str, now: int) -> ApiKey:
        """Withdraw a key, from the next call on. Raises ApiKeyError when there is none, StateError."""
        with self._store.reported():
            if self._store.exists():
                update = "UPDATE keys SET revoked = coalesce(revoked, ?) WHERE id = ?"
                self._opened().execute(update, (now, id_))
                self._known.clear()
            found = self._find(id_)
        if found is None:
            raise ApiKeyError("api_key_unknown", "there is no key with this id")
        return found[0]

    def identified(self, text: str, now: int) -> ApiKey:
        """The key that a caller presents. Raises ApiKeyError, StateError.

        Keys are remembered until another connection has changed the store, which SQLite tells in microseconds.
        """
        form = _TOKEN.fullmatch(text)
        with self._store.reported():
            found = self._find(form[1]) if form else None
        try:
            if found is None:
                raise Unauthentic("secret", "there is no key with this id")
            same(found[1], _hashed(self._secret, text))
        except Unauthentic:
            raise ApiKeyError("api_key_unknown", "the key is not one of this box") from None
        key, _ = found
        if key.revoked is not None:
            raise ApiKeyError("api_key_revoked", f"the key {key.id} was revoked")
        if key.expires is not None and key.expires <= now:
            raise ApiKeyError("api_key_expired", f"the key {key.id} has expired")
        return key

    def image(self) -> bytes | None:
        """The store as one file, also while others write to it; None when no key was ever made. Raises StateError."""
        return self._store.image()

    def restore(self, image: bytes) -> None:
        """Make the store from such a file, where there is none. Raises StateError: state_format, state_broken."""
        self._store.restore(image)

    def close(self) -> None:
        if self._table is not None:
            self._table.close()
            self._table = None

    def _find(self, id_: str) -> tuple[ApiKey, bytes] | None:
        if self._table is None and not self._store.exists():
            return None
        table = self._opened()
        (version,) = table.execute("PRAGMA data_version").fetchone()
        if version != self._version:
            self._version = version
            self._known.clear()
        if id_ not in self._known:
            select = "SELECT hash, purpose, basis, made, expires, revoked FROM keys WHERE id = ?"
            row = table.execute(select, (id_,)).fetchone()
            if row is None:
                return None
            hashed, purpose, basis, made, expires, revoked = row
            key = ApiKey(id=id_, made=made, purpose=purpose, basis=basis, expires=expires, revoked=revoked)
            self._known[id_] = key, hashed
        return self._known[id_]

    def _opened(self) -> sqlite3.Connection:
        if self._table is None:
            table = self._store.connected()
            # of two processes that make the store at once, one secret is kept
            table.execute("INSERT INTO secret SELECT ? WHERE NOT EXISTS (SELECT 1 FROM secret)", (fresh(),))
            (self._secret,) = table.execute("SELECT key FROM secret").fetchone()
            self._table = table
        return self._table


def _hashed(secret: bytes, text: str) -> bytes:
    return derive(secret, b"api-key", text.encode())
