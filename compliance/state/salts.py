"""The salts of the journal: a small mutable table outside the log.

A row stands for a tenant, a subject (or none), a class, a purpose and a month. Its salt goes into the key of every
record of that kind, so destroying the row makes those records unreadable to everybody, while every proof over the
log still holds. Who a row stands for is kept as a keyed hash only; class, purpose and month are in clear, since
retention goes by them. Rows are destroyed by `compliance.state.disposition`.
"""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path
from threading import Lock

from compliance.crypto import fresh, kdf
from compliance.state.table import SaltTable, Transaction, sized

__all__ = ["TOKEN", "Salts", "pseudonym"]

# the class of the one row of a tenant and a subject that keys the tokens in payloads; of no purpose and no month
TOKEN = "token"  # noqa: S105 - the name of a class, no secret
_REMEMBERED = 4096

Salt = tuple[bytes, bytes]  # row (16 bytes), salt (32 bytes)


class Salts:
    """The table as the journal uses it. A row is on disk before its salt is used. Safe for threads."""

    def __init__(self, path: Path) -> None:
        self._lock = Lock()
        self._table = SaltTable(path)
        self._seen: bytes | None = None  # the counter when what follows was looked up
        self._known: dict[tuple[str, ...], Salt] = {}
        self._destroyed: int | None = None

    @staticmethod
    def create(path: Path) -> None:
        """Make an empty table, readable by the owner only. Raises StateError when there is a file already."""
        SaltTable.create(path)

    def for_call(self, tenant: str, subject: str, class_: str, purpose: str, month: str) -> Salt:
        """The row and the salt of this owner, made when new; `subject` may be empty, `month` is 2025-11 or empty.

        A row that another process destroys is never handed out afterwards. Raises StateError.
        """
        owner = (tenant, subject, class_, purpose, month)
        # a busy box asks for the same few rows all day
        if self._table.generation[:] == self._seen and (known := self._known.get(owner)) is not None:
            return known
        with self._lock:
            self._look_again()
            with self._table.reading() as transaction:
                found = _found(transaction, owner)
            if found is None:
                with self._table.writing() as transaction:
                    found = _found(transaction, owner) or _made(transaction, owner)
            if len(self._known) >= _REMEMBERED:
                del self._known[next(iter(self._known))]
            self._known[owner] = found
            return found

    def salt(self, row: bytes) -> bytes | None:
        """The salt of a row, or None when it was destroyed. Raises StateError."""
        with self._lock, self._table.reading() as (table, key):
            found = table.execute("SELECT sealed FROM salts WHERE row = ?", (row,)).fetchone()
            return None if found is None else sized(key.open(row, found[0]), 32)

    def rows_of(self, tenant: str, subject: str, class_: str | None = None) -> frozenset[bytes]:
        """The rows of a subject, of one class or of all, to find its records by. Raises StateError."""
        with self._lock, self._table.reading() as (table, key):
            who = key.hashed(b"who", tenant, subject)
            rows = table.execute("SELECT row FROM salts WHERE who = ?1 AND class = coalesce(?2, class)", (who, class_))
            return frozenset(row for (row,) in rows)

    def released(self, row: bytes, record: str, auditor: str, at: int) -> bytes | None:
        """Note that a record is released to an auditor (by fingerprint), and return the salt to do it with.

        None when the row was destroyed. What is noted here is named by the erasure that comes later. Raises StateError.
        """
        with self._lock, self._table.writing() as (table, key):
            found = table.execute("SELECT sealed FROM salts WHERE row = ?", (row,)).fetchone()
            if found is None:
                return None
            table.execute("INSERT OR IGNORE INTO releases VALUES (?, ?, ?, ?)", (row, record, at, auditor))
            return sized(key.open(row, found[0]), 32)

    @property
    def destroyed(self) -> int:
        """How many rows were ever destroyed here. Raises StateError."""
        with self._lock:
            self._look_again()
            if self._destroyed is None:
                with self._table.reading() as (table, _):
                    (count,) = table.execute("SELECT count(*) FROM tombstones").fetchone()
                self._destroyed = int(count)
            return self._destroyed

    def close(self) -> None:
        with self._lock:
            self._table.close()
            self._forget(None)

    def _look_again(self) -> None:
        """Forget everything when rows were destroyed, before anything new is looked up."""
        seen = self._table.seen()
        if seen is None or seen != self._seen:
            self._forget(seen)

    def _forget(self, seen: bytes | None) -> None:
        # a new dictionary: another thread may be asking the old one
        self._known = {}
        self._destroyed = None
        self._seen = seen


def pseudonym(salt: bytes, subject: str) -> str:
    """What stands for a subject in the metadata of records: the same for all under one salt, and gone with it."""
    return kdf(salt, b"\x04", subject.encode())[:16].hex()


def _found(transaction: Transaction, owner: tuple[str, ...]) -> Salt | None:
    table, key = transaction
    found = table.execute("SELECT row, sealed FROM salts WHERE owner = ?", (key.hashed(b"owner", *owner),)).fetchone()
    if found is None:
        return None
    row = sized(found[0], 16)
    return row, sized(key.open(row, found[1]), 32)


def _made(transaction: Transaction, owner: tuple[str, ...]) -> Salt:
    table, key = transaction
    tenant, subject, class_, purpose, month = owner
    row = fresh(16)
    who = key.hashed(b"who", tenant, subject) if subject else None
    values = (row, key.hashed(b"owner", *owner), who, class_, purpose, month, key.seal(row, fresh()), time.time_ns())
    table.execute("INSERT INTO salts VALUES (?, ?, ?, ?, ?, ?, ?, ?)", values)
    made = _found(transaction, owner)
    if made is None:
        raise sqlite3.DatabaseError("the table does not keep what is put into it")
    return made
