"""The file in which API keys lie, in format 3: what is known of each key, and how many calls were made under it.

    box         one row: the key of the hashes, and a count that grows with every change to a key, not with a call
    api_keys    one row a key; `terms` is JSON, and `certificate` the SHA-256 of the one it is bound to
    usage       one row for each account that may make so many calls; a key and those that replaced it are one account
    seen        when a key was last used, to the hour
    tokens      one row for each account that answers were made for under a limit: how many tokens in which minute and
                which day since 1970

Format 1 had two tables, `secret` and `keys`, format 2 no `tokens`; they are moved on when they are opened.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from compliance.state.errors import StateError
from compliance.state.store import Earlier, Store

__all__ = ["COLUMNS", "KEYS", "MOST_TOKENS", "ApiKey", "Defaults", "Terms", "key_of", "packed", "store"]

NAME = "api_keys.sqlite"
FORMAT = 3
MAX_TEXT, MAX_TEXTS = 256, 64
MOST_TOKENS = 10**12

_SCHEMA_1 = (
    "CREATE TABLE secret (key BLOB NOT NULL) STRICT",
    "CREATE TABLE keys (id TEXT PRIMARY KEY, hash BLOB NOT NULL, purpose TEXT, basis TEXT, made INTEGER NOT NULL,"
    " expires INTEGER, revoked INTEGER) STRICT, WITHOUT ROWID",
)
_SCHEMA_2 = (
    "CREATE TABLE box (secret BLOB NOT NULL, changes INTEGER NOT NULL) STRICT",
    "CREATE TABLE api_keys (id TEXT PRIMARY KEY, hash BLOB NOT NULL, account TEXT NOT NULL, made INTEGER NOT NULL,"
    " expires INTEGER, revoked INTEGER, successor TEXT, certificate BLOB, terms BLOB NOT NULL) STRICT, WITHOUT ROWID",
    "CREATE INDEX api_keys_by_certificate ON api_keys (certificate) WHERE certificate IS NOT NULL",
    "CREATE TABLE usage (account TEXT PRIMARY KEY, calls INTEGER NOT NULL, used INTEGER NOT NULL)"
    " STRICT, WITHOUT ROWID",
    "CREATE TABLE seen (id TEXT PRIMARY KEY, at INTEGER NOT NULL) STRICT, WITHOUT ROWID",
)
_TOKENS = (
    "CREATE TABLE tokens (account TEXT PRIMARY KEY, minute INTEGER NOT NULL, in_minute INTEGER NOT NULL,"
    " day INTEGER NOT NULL, in_day INTEGER NOT NULL) STRICT, WITHOUT ROWID"
)
_SCHEMA = (*_SCHEMA_2, _TOKENS)

_Text = Annotated[str, Meta(min_length=1, max_length=MAX_TEXT)]
_Texts = Annotated[tuple[_Text, ...], Meta(max_length=MAX_TEXTS)]


class Defaults(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What holds for a call that says nothing of its own."""

    purpose: _Text | None = None
    basis: _Text | None = None
    region: _Text | None = None
    subject: _Text | None = None
    consent: _Text | None = None


class Terms(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a key is for. What is empty restricts nothing.

    `models` are NAME or NAME@VERSION, and a * at the end of either stands for any ending; `admin` may load and unload
    models; `rate_per_s` and `burst` are calls a second in the long run and at once, `concurrent` calls that run at the
    same time; without them the settings say. `tokens_per_minute` and `tokens_per_day` are those of prompts and answers
    of models that generate, in a minute and a day of UTC; without them there is no such limit. `tenant` is whose calls
    these are, without it that of the settings.
    """

    name: _Text | None = None
    tenant: _Text | None = None
    models: _Texts = ()
    purposes: _Texts = ()
    regions: _Texts = ()
    admin: bool = False
    rate_per_s: Annotated[float, Meta(gt=0, le=1e6)] | None = None
    burst: Annotated[int, Meta(ge=1, le=10**6)] | None = None
    concurrent: Annotated[int, Meta(ge=1, le=10**6)] | None = None
    tokens_per_minute: Annotated[int, Meta(ge=1, le=MOST_TOKENS)] | None = None
    tokens_per_day: Annotated[int, Meta(ge=1, le=MOST_TOKENS)] | None = None
    defaults: Defaults = Defaults()


class ApiKey(Terms, frozen=True, kw_only=True):
    """What is known of a key, its secret excepted. Times are in nanoseconds since 1970.

    A key and those that replaced it are one `account`, which shares one rate and one quota of `calls`; `certificate`
    is the SHA-256 of a client certificate in DER; `successor` is the key that replaced this one.
    """

    id: str
    account: str
    made: int
    expires: int | None = None
    revoked: int | None = None
    successor: str | None = None
    certificate: bytes | None = None
    calls: int | None = None

    def terms(self) -> Terms:
        return Terms(**{name: getattr(self, name) for name in Terms.__struct_fields__})

    def closed(self, at: int) -> str | None:
        """The code that says why the key opens nothing at this time; None for one in force."""
        if self.revoked is not None:
            return "api_key_revoked"
        return "api_key_expired" if self.expires is not None and self.expires <= at else None


# the columns that key_of reads, with the hash behind them
COLUMNS = "id, account, made, expires, revoked, successor, certificate, calls, terms, hash"
KEYS = f"SELECT {COLUMNS} FROM api_keys LEFT JOIN usage USING (account)"  # noqa: S608 - names of ours only


def store(state: Path) -> Store:
    """The store of API keys in a folder `state`."""
    return Store(state / NAME, FORMAT, _SCHEMA, {1: Earlier(_SCHEMA_1, _from_1), 2: Earlier(_SCHEMA_2, _from_2)})


def packed(terms: Terms) -> bytes:
    """Terms as they lie in the table. Raises msgspec.ValidationError for what is out of bounds."""
    text = msgspec.json.encode(terms)
    if msgspec.json.decode(text, type=Terms) != terms:
        raise msgspec.ValidationError("JSON has no number for it")  # infinity becomes null
    return text


def key_of(row: tuple[Any, ...]) -> ApiKey:
    """The key in a row of COLUMNS. Raises StateError."""
    id_, account, made, expires, revoked, successor, certificate, calls, terms = row
    try:
        said = msgspec.json.decode(terms, type=Terms)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise StateError("state_broken", f"the terms of the key {id_} cannot be read") from None
    return ApiKey(
        id=id_,
        account=account,
        made=made,
        expires=expires,
        revoked=revoked,
        successor=successor,
        certificate=certificate,
        calls=calls,
        **{name: getattr(said, name) for name in Terms.__struct_fields__},
    )


def _from_2(table: sqlite3.Connection) -> None:
    table.execute(_TOKENS)


def _from_1(table: sqlite3.Connection) -> None:
    for statement in _SCHEMA_2:
        table.execute(statement)
    table.execute("INSERT INTO box SELECT key, 0 FROM secret")
    for id_, hashed, purpose, basis, *times in table.execute("SELECT * FROM keys").fetchall():
        # an empty default said as much as none
        terms = Terms(defaults=Defaults(purpose=purpose or None, basis=basis or None))
        row = (id_, hashed, id_, *times, packed(terms))
        table.execute("INSERT INTO api_keys VALUES (?, ?, ?, ?, ?, ?, NULL, NULL, ?)", row)
    table.execute("DROP TABLE keys")
    table.execute("DROP TABLE secret")
