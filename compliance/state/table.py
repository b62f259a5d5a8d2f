"""The file behind the salts: SQLite, the key of the table beside it, and the counter that all processes watch.

A crash at any step of a destruction leaves a table that opens: the new key is on the disk before the transaction that
names it, and the old key goes only after that transaction is on the disk and out of SQLite's own log. What is left
over then is cleared away by whoever opens the table next.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from mmap import mmap
from pathlib import Path

from compliance.crypto import Unauthentic
from compliance.state import generation
from compliance.state.errors import StateError
from compliance.state.generation import Turn
from compliance.state.table_key import TableKey

__all__ = ["SaltTable", "Transaction", "sized"]

FORMAT = 2
_COUNTER = "generation"

# `who` stands for a tenant and a subject; class, purpose and month of a hold are NULL where any will do
_SCHEMA = f"""
PRAGMA journal_mode = WAL;
CREATE TABLE current (key BLOB NOT NULL) STRICT;
CREATE TABLE salts (
    row BLOB PRIMARY KEY, owner BLOB NOT NULL UNIQUE, who BLOB, class TEXT NOT NULL, purpose TEXT NOT NULL,
    month TEXT NOT NULL, sealed BLOB NOT NULL, made INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX salts_by_who ON salts (who) WHERE who IS NOT NULL;
CREATE TABLE tombstones (row BLOB PRIMARY KEY) STRICT, WITHOUT ROWID;
CREATE TABLE holds (
    id TEXT PRIMARY KEY, who BLOB, class TEXT, purpose TEXT, month TEXT, ground TEXT NOT NULL, at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE releases (
    row BLOB NOT NULL, record TEXT NOT NULL, at INTEGER NOT NULL, auditor TEXT NOT NULL,
    PRIMARY KEY (row, record, auditor)
) STRICT, WITHOUT ROWID;
CREATE TABLE backups (id TEXT PRIMARY KEY, at INTEGER NOT NULL, expires INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE outbox (
    number INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, tenant TEXT NOT NULL, data TEXT NOT NULL
) STRICT;
PRAGMA user_version = {FORMAT};
"""

Transaction = tuple[sqlite3.Connection, TableKey]


class SaltTable:
    """Opened at first use, for one thread at a time.

    `generation` is the counter while the table is open, mapped; any thread may compare it. Every method raises
    StateError for whatever is wrong with the files.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._folder = path.parent
        self._table: sqlite3.Connection | None = None
        self._key: TableKey | None = None
        self.generation: mmap | bytes = b""

    @staticmethod
    def create(path: Path) -> None:
        """Make an empty table, readable by the owner only. Nothing is overwritten."""
        try:
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
            generation.create(path.parent / _COUNTER)
            key = TableKey.generate()
            key.write(path.parent)
            with closing(sqlite3.connect(path)) as table, table:
                table.executescript(_SCHEMA)
                table.execute("INSERT INTO current VALUES (?)", (key.id,))
        except (OSError, sqlite3.Error) as error:
            raise StateError("state_broken", f"{path} cannot be made: {error}") from None

    def reading(self) -> AbstractContextManager[Transaction]:
        return self._transaction("BEGIN")

    def writing(self) -> AbstractContextManager[Transaction]:
        return self._transaction("BEGIN IMMEDIATE")

    @contextmanager
    def destroying(self, turn: Turn) -> Iterator[Transaction]:
        """A transaction in which rows go. Those that stay are sealed under a new key, and the old one is destroyed."""
        turn.unsettle()
        try:
            with self.writing() as (table, key):
                yield table, key
                successor = key.successor()
                successor.write(self._folder)
                _reseal(table, key, successor)
        finally:
            self._key = None
            with self._reported():
                self._settle(self._opened(), turn)

    @contextmanager
    def turn(self) -> Iterator[Turn]:
        """Wait until no other process destroys rows, or has yet to write down that it did, and keep the others off."""
        with self._reported():
            self._opened()
            turn = Turn(self._folder / _COUNTER, wait=True)
        with closing(turn):
            yield turn

    def seen(self) -> bytes | None:
        """The counter, or None while rows are being destroyed and nothing should be remembered."""
        with self._reported():
            table = self._opened()
            if not generation.settled(self.generation[:]):
                self._mend(table)
            seen = self.generation[:]
            return seen if generation.settled(seen) else None

    def close(self) -> None:
        self.generation = b""  # the map itself goes when the last thread has compared it
        self._key = None
        if self._table is not None:
            self._table.close()
            self._table = None

    def _opened(self) -> sqlite3.Connection:
        if self._table is None:
            table = _connected(self._path)
            try:
                self.generation = generation.watched(self._folder / _COUNTER)
                self._mend(table)
            except BaseException:
                table.close()
                raise
            self._table = table
        return self._table

    @contextmanager
    def _transaction(self, begin: str) -> Iterator[Transaction]:
        with self._reported():
            table = self._opened()
            try:
                yield table, self._begun(table, begin)
                table.execute("COMMIT")
            except BaseException:
                if table.in_transaction:
                    table.execute("ROLLBACK")
                raise

    def _begun(self, table: sqlite3.Connection, begin: str) -> TableKey:
        """Begin, and return the key under which the table stands in this transaction."""
        table.execute(begin)
        try:
            return self._key_of(table)
        except (FileNotFoundError, StateError):
            # another process destroyed it since this view of the table was taken: the next view names its successor
            table.execute("ROLLBACK")
            table.execute(begin)
            return self._key_of(table)

    def _key_of(self, table: sqlite3.Connection) -> TableKey:
        (found,) = table.execute("SELECT key FROM current").fetchone() or (None,)
        id_ = sized(found, 16)
        if self._key is None or self._key.id != id_:
            self._key = TableKey.read(self._folder, id_)
        return self._key

    def _mend(self, table: sqlite3.Connection) -> None:
        """Finish what a process left over that died while it destroyed rows; one that lives is left alone."""
        try:
            turn = Turn(self._folder / _COUNTER, wait=False)
        except BlockingIOError:
            return
        with closing(turn):
            self._settle(table, turn)

    def _settle(self, table: sqlite3.Connection, turn: Turn) -> None:
        """Leave no other key than the one of the table, and let everybody remember again."""
        key = self._key_of(table)
        if key.others(self._folder):
            # what a reader may hold back in SQLite's log is sealed under the key that goes now
            table.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            key.destroy_others(self._folder)
        turn.settle()

    @contextmanager
    def _reported(self) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError as error:
            raise StateError("state_missing", f"{error.filename} does not exist") from None
        except OSError as error:
            raise StateError("state_broken", f"{error.filename or self._path}: {error.strerror}") from None
        except (sqlite3.Error, Unauthentic) as error:
            raise StateError("state_broken", f"{self._path}: {error}") from None


def sized(value: object, size: int) -> bytes:
    """The bytes of a column. Raises sqlite3.DatabaseError when they are not of this size."""
    if not isinstance(value, bytes) or len(value) != size:
        raise sqlite3.DatabaseError("the table does not hold what was put into it")
    return value


def _connected(path: Path) -> sqlite3.Connection:
    if not path.is_file():
        raise StateError("state_missing", f"{path} does not exist")
    # rw: a table is never made here, also when it is removed at this very moment
    uri = f"{path.absolute().as_uri()}?mode=rw"
    # a new row waits while a destruction seals all others anew, 100,000 of them in some 2 seconds
    table = sqlite3.connect(uri, uri=True, timeout=120, isolation_level=None, check_same_thread=False)
    try:
        (version,) = table.execute("PRAGMA user_version").fetchone()
        if version != FORMAT:
            code = "state_format" if version else "state_broken"
            raise StateError(code, f"{path} has format {version}, this version reads format {FORMAT}")
        table.execute("PRAGMA synchronous = FULL")
        table.execute("PRAGMA secure_delete = ON")
        table.execute("PRAGMA temp_store = MEMORY")  # no copy of a page goes to a temporary file
    except BaseException:
        table.close()
        raise
    return table


def _reseal(table: sqlite3.Connection, old: TableKey, new: TableKey) -> None:
    table.create_function("resealed", 2, lambda row, sealed: new.seal(row, old.open(row, sealed)))
    try:
        table.execute("UPDATE salts SET sealed = resealed(row, sealed)")
    finally:
        table.create_function("resealed", 2, None)  # else SQLite keeps the old key
    table.execute("UPDATE current SET key = ?", (new.id,))
