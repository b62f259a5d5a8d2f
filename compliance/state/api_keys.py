"""The API keys of a box: who may ask its server, for what, and until when.

A key is written `sp_<id>_<secret>`, the secret being 256 random bits. It is found by its id, and kept as HMAC-SHA256
over id and secret. The key of that HMAC lies in the same file: a secret of 256 bits cannot be guessed, so the HMAC
need not hide it from whoever holds the file; it makes the hashes of one box worthless on every other one, and keeps
the store one file that is copied and restored as a whole.

A key that is bound to a client certificate opens nothing without it; the certificate alone stands for the key, since
TLS has proved that the client holds its private key (as in RFC 8705).
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

import msgspec
from msgspec import Struct, structs

from compliance.crypto import Unauthentic, derive, fresh, same, sha256
from compliance.state.api_key_table import COLUMNS, KEYS, ApiKey, Terms, key_of, packed, store
from policies.errors import Refused

__all__ = ["ApiKey", "ApiKeyError", "ApiKeys", "Listed"]

_TOKEN = re.compile(r"sp_([0-9a-f]{16})_([0-9a-f]{64})")


class ApiKeyError(Refused):
    """A key that opens nothing here."""

    hints: ClassVar[Mapping[str, str]] = {
        "api_key_missing": "Send the header `Authorization: Bearer KEY`; `sealpress key create` makes a key.",
        "api_key_unknown": "Check that the key is complete and belongs to this box; `sealpress key create` makes one.",
        "api_key_expired": "Ask the operator for a new key: this one was made for a limited time, which is over.",
        "api_key_revoked": "Ask the operator for a new key: this one was withdrawn.",
        "api_key_bound": "Connect with the client certificate that the key is bound to.",
        "api_key_certificate": "Bind the certificate to a key: `sealpress key create --certificate FILE`.",
        "api_key_replaced": "Rotate the key that replaced it; `sealpress key list` shows which.",
        "api_key_terms": "Give names of 1 to 256 characters, 64 of a kind at most, and limits above 0.",
        "api_key_taken": "Rotate the key that has this certificate, or revoke it first.",
    }


class Listed(Struct, frozen=True):
    """A key for who runs the box: how many calls its account has `used`, when the key was last `seen`, to the hour."""

    key: ApiKey
    used: int | None
    seen: int | None


class ApiKeys:
    """The store in a folder `state`, made with the first key. One object belongs to one thread."""

    def __init__(self, state: Path) -> None:
        self._store = store(state)
        self._table: sqlite3.Connection | None = None
        self._secret = b""
        self._version = -1
        self._changes = -1
        self._known: dict[str, tuple[ApiKey, bytes]] = {}
        self._bound: dict[bytes, tuple[ApiKey, ...]] = {}

    def create(
        self,
        now: int,
        terms: Terms | None = None,
        *,
        expires: int | None = None,
        calls: int | None = None,
        certificate: bytes | None = None,
    ) -> tuple[ApiKey, str]:
        """A new key, and the text of it, which is kept nowhere; `certificate` is in DER.

        Raises ApiKeyError: api_key_terms; api_key_taken for a certificate that is bound to a key in force. StateError.
        """
        id_ = fresh(8).hex()
        digest = None if certificate is None else sha256(certificate)
        with self._store.reported():
            self._store.make()
        with self._changing() as table:
            if digest is not None and any(key.closed(now) is None for key in self._of(table, digest)):
                raise ApiKeyError("api_key_taken", "the certificate is bound to another key")
            if calls is not None:
                if calls < 1:
                    raise ApiKeyError("api_key_terms", "a quota is of one call at least")
                table.execute("INSERT INTO usage VALUES (?, ?, 0)", (id_, calls))
            return self._insert(table, id_, id_, now, expires, digest, terms or Terms())

    def rotate(
        self, id_: str, now: int, *, overlap: int, expires: int | None = None, certificate: bytes | None = None
    ) -> tuple[ApiKey, str, ApiKey]:
        """A new key in place of an old one, which works on for `overlap` nanoseconds: the new one, its text, the old.

        It is for the same, of the same account, and lives as long as the old one was made for, unless `expires` says
        otherwise. Raises ApiKeyError: api_key_unknown, api_key_expired, api_key_revoked, api_key_replaced. StateError.
        """
        with self._changing() as table:
            old = self._find(id_)[0]
            if (code := old.closed(now)) is not None:
                raise ApiKeyError(code, f"the key {old.id} is not in force")
            if old.successor is not None:
                raise ApiKeyError("api_key_replaced", f"the key {old.id} was replaced by {old.successor}")
            if expires is None and old.expires is not None:
                expires = now + old.expires - old.made
            digest = old.certificate if certificate is None else sha256(certificate)
            if digest != old.certificate and any(key.closed(now) is None for key in self._of(table, digest or b"")):
                raise ApiKeyError("api_key_taken", "the certificate is bound to another key")
            new, text = self._insert(table, fresh(8).hex(), old.account, now, expires, digest, old.terms())
            ends = now + overlap if old.expires is None else min(old.expires, now + overlap)
            update = "UPDATE api_keys SET successor = ?, expires = ? WHERE id = ?"
            table.execute(update, (new.id, ends, old.id))
        return new, text, structs.replace(old, successor=new.id, expires=ends)

    def revoke(self, id_: str, now: int) -> ApiKey:
        """Withdraw a key, from the next call on. Raises ApiKeyError when there is none, StateError."""
        with self._changing() as table:
            key = self._find(id_)[0]
            table.execute("UPDATE api_keys SET revoked = coalesce(revoked, ?) WHERE id = ?", (now, id_))
        return key if key.revoked is not None else structs.replace(key, revoked=now)

    def all(self) -> list[Listed]:
        """Every key that was ever made, the oldest first. Raises StateError."""
        if not self._store.exists():
            return []
        with self._store.reported():
            select = (
                f"SELECT {COLUMNS}, used, at FROM api_keys LEFT JOIN usage USING (account) LEFT JOIN seen USING (id)"  # noqa: S608 - names of ours only
                " ORDER BY made, id"
            )
            rows = self._opened().execute(select).fetchall()
        return [Listed(key_of(row[:-3]), *row[-2:]) for row in rows]

    def identified(self, text: str, now: int, certificate: bytes | None = None) -> ApiKey:
        """The key that a caller presents, and the certificate with which it came. Raises ApiKeyError, StateError.

        Keys are remembered until another connection has changed one, which SQLite tells in microseconds.
        """
        form = _TOKEN.fullmatch(text)
        if form is None:
            raise ApiKeyError("api_key_unknown", "the key is not one of this box")
        with self._store.reported():
            key, expected = self._find(form[1])
        try:
            same(expected, _hashed(self._secret, text))
        except Unauthentic:
            raise ApiKeyError("api_key_unknown", "the key is not one of this box") from None
        if key.certificate is not None and (certificate is None or sha256(certificate) != key.certificate):
            raise ApiKeyError("api_key_bound", f"the key {key.id} came without its certificate")
        return _in_force(key, now)

    def bound(self, certificate: bytes, now: int) -> ApiKey:
        """The key that a client certificate (DER) stands for: the newest in force. Raises ApiKeyError, StateError."""
        digest = sha256(certificate)
        with self._store.reported():
            keys = self._of(table, digest) if (table := self._current()) is not None else ()
        if not keys:
            raise ApiKeyError("api_key_certificate", "the client certificate is bound to no key")
        return _in_force(next((key for key in keys if key.closed(now) is None), keys[0]), now)

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

    @contextmanager
    def _changing(self) -> Iterator[sqlite3.Connection]:
        """A change to the keys, as a whole or not at all, that every other process will see."""
        with self._store.reported():
            if not self._store.exists():
                raise ApiKeyError("api_key_unknown", "no key was ever made here")
            table = self._opened()
            table.execute("BEGIN IMMEDIATE")
            try:
                with table:
                    self._forget()
                    yield table
                    table.execute("UPDATE box SET changes = changes + 1")
            finally:
                self._forget()

    def _insert(
        self,
        table: sqlite3.Connection,
        id_: str,
        account: str,
        now: int,
        expires: int | None,
        certificate: bytes | None,
        terms: Terms,
    ) -> tuple[ApiKey, str]:
        text = f"sp_{id_}_{fresh().hex()}"
        try:
            row = (id_, _hashed(self._secret, text), account, now, expires, certificate, packed(terms))
        except msgspec.ValidationError as error:
            raise ApiKeyError("api_key_terms", f"a key cannot be made for this: {error}") from None
        table.execute("INSERT INTO api_keys VALUES (?, ?, ?, ?, ?, NULL, NULL, ?, ?)", row)
        return self._find(id_)[0], text

    def _find(self, id_: str) -> tuple[ApiKey, bytes]:
        if (table := self._current()) is not None and id_ not in self._known:
            row = table.execute(f"{KEYS} WHERE id = ?", (id_,)).fetchone()
            if row is not None:
                self._known[id_] = key_of(row[:-1]), row[-1]
        found = self._known.get(id_)
        if found is None:
            raise ApiKeyError("api_key_unknown", "there is no key with this id")
        return found

    def _of(self, table: sqlite3.Connection, digest: bytes) -> tuple[ApiKey, ...]:
        """The keys that are bound to a certificate, the newest first."""
        if digest not in self._bound:
            rows = table.execute(f"{KEYS} WHERE certificate = ? ORDER BY made DESC, id", (digest,)).fetchall()
            if not rows:
                return ()
            self._bound[digest] = tuple(key_of(row[:-1]) for row in rows)
        return self._bound[digest]

    def _current(self) -> sqlite3.Connection | None:
        """The table, and nothing is remembered that has changed in it; None when no key was ever made."""
        if self._table is None and not self._store.exists():
            return None
        table = self._opened()
        (version,) = table.execute("PRAGMA data_version").fetchone()
        if version != self._version:
            # also another process that counts a call changes the version
            (changes,) = table.execute("SELECT changes FROM box").fetchone()
            if changes != self._changes:
                self._forget()
            self._version, self._changes = version, changes
        return table

    def _forget(self) -> None:
        self._known.clear()
        self._bound.clear()

    def _opened(self) -> sqlite3.Connection:
        if self._table is None:
            table = self._store.connected()
            # of two processes that make the store at once, one secret is kept
            table.execute("INSERT INTO box SELECT ?, 0 WHERE NOT EXISTS (SELECT 1 FROM box)", (fresh(),))
            (self._secret,) = table.execute("SELECT secret FROM box").fetchone()
            self._table = table
        return self._table


def _hashed(secret: bytes, text: str) -> bytes:
    return derive(secret, b"api-key", text.encode())


def _in_force(key: ApiKey, now: int) -> ApiKey:
    if (code := key.closed(now)) is not None:
        raise ApiKeyError(code, f"the key {key.id} is not in force")
    return key
