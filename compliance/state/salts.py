"""The salts of the journal: a small mutable table outside the log.

A row stands for a tenant, a subject (or none), a class, a purpose and a month. Its salt goes into the key of every
record of that kind, so destroying the row makes those records unreadable to everybody, while every proof over the
log still holds. Who a row stands for is kept as a keyed hash only.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import ClassVar

from compliance.crypto import derive, fresh
from policies.errors import Failed

__all__ = ["Salts", "StateError"]

_SCHEMA = """
PRAGMA user_version = 1;
CREATE TABLE secret (key BLOB NOT NULL) STRICT;
CREATE TABLE salts (row BLOB PRIMARY KEY, owner BLOB NOT NULL UNIQUE, salt BLOB NOT NULL) STRICT, WITHOUT ROWID;
"""
_FIND = "SELECT row, salt FROM salts WHERE owner = ?"


class StateError(Failed):
    """A store beside the journal that cannot be used."""

    hints: ClassVar[Mapping[str, str]] = {
        "state_missing": "Restore the folder state/ from its backup: a new one would make the old records unreadable.",
        "state_broken": "Free some disk space, check the permissions, or restore the folder state/ from its backup.",
    }


class Salts:
    """The table, opened. A row is on disk before its salt is used."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = Lock()
        self._table: sqlite3.Connection | None = None
        # a busy box asks for the same few rows all day
        self.for_call = lru_cache(maxsize=4096)(self._for_call)

    @staticmethod
    def create(path: Path) -> None:
        """Make an empty table, readable by the owner only. Raises StateError when there is a file already."""
        try:
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
            with closing(sqlite3.connect(path)) as table, table:
                table.executescript(_SCHEMA)
                table.execute("INSERT INTO secret VALUES (?)", (fresh(),))
        except (OSError, sqlite3.Error) as error:
            raise StateError("state_broken", f"{path} cannot be made: {error}") from None

    def salt(self, row: bytes) -> bytes | None:
        """The salt of a row, or None when it was destroyed. Raises StateError."""
        with self._opened() as table:
            found = table.execute("SELECT salt FROM salts WHERE row = ?", (row,)).fetchone()
            return None if found is None else _bytes(found[0], 32)

    def close(self) -> None:
        with self._lock:
            if self._table is not None:
                self._table.close()
                self._table = None

    def _for_call(self, *owner: str) -> tuple[bytes, bytes]:
        """The row (16 bytes) and the salt (32 bytes) for tenant, subject, class, purpose and month, made when new."""
        parts = [part.encode() for part in owner]
        with self._opened() as table:
            (secret,) = table.execute("SELECT key FROM secret").fetchone() or (None,)
            joined = b"".join(len(part).to_bytes(4, "big") + part for part in parts)
            hashed = derive(_bytes(secret, 32), b"owner", joined)
            # looked for first, since a process that only reads never waits for one that writes
            found = table.execute(_FIND, (hashed,)).fetchone()
            if found is None:
                table.execute("INSERT OR IGNORE INTO salts VALUES (?, ?, ?)", (fresh(16), hashed, fresh()))
                found = table.execute(_FIND, (hashed,)).fetchone()
            row, salt = found or (None, None)
            return _bytes(row, 16), _bytes(salt, 32)

    @contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        """The table, for one thread at a time. Raises StateError for whatever is wrong with it."""
        with self._lock:
            try:
                if self._table is None:
                    self._table = self._connected()
                yield self._table
            except sqlite3.Error as error:
                raise StateError("state_broken", f"{self._path}: {error}") from None

    def _connected(self) -> sqlite3.Connection:
        if not self._path.is_file():
            raise StateError("state_missing", f"{self._path} does not exist")
        # rw: a table is never made here, also when it is removed at this very moment
        uri = f"{self._path.absolute().as_uri()}?mode=rw"
        table = sqlite3.connect(uri, uri=True, timeout=30, isolation_level=None, check_same_thread=False)
        table.execute("PRAGMA synchronous = FULL")
        return table


def _bytes(value: object, size: int) -> bytes:
    if not isinstance(value, bytes) or len(value) != size:
        raise sqlite3.DatabaseError("the table does not hold what was put into it")
    return value
