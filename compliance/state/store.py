"""A small SQLite store beside the journal, in one file: made with its first row, copied and restored as a whole."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple

from compliance.disk import write_synced
from compliance.state.errors import StateError

__all__ = ["Earlier", "Store"]


class Earlier(NamedTuple):
    """A format of before: the statements that made its tables, and what moves them on to the next format."""

    schema: Sequence[str]
    move: Callable[[sqlite3.Connection], None]


class Store:
    """Where the store is, its format, and the statements that make its tables. Nothing is kept open.

    A store of an `earlier` format is moved on when it is opened, as a whole or not at all.
    """

    def __init__(
        self, path: Path, version: int, schema: Sequence[str], earlier: Mapping[int, Earlier] | None = None
    ) -> None:
        self.path = path
        self._version = version
        self._earlier = earlier or {}
        self._schemas = {version: schema, **{number: one.schema for number, one in self._earlier.items()}}

    def exists(self) -> bool:
        return self.path.exists()

    def make(self) -> None:
        """Make the file where there is none; SQLite makes files that everybody may read. Raises OSError."""
        if not self.path.exists():
            os.close(os.open(self.path, os.O_WRONLY | os.O_CREAT, 0o600))

    def connected(self, *, threads: bool = False) -> sqlite3.Connection:
        """A connection, for one thread or for several that take turns, with the tables made if there are none.

        Raises sqlite3.Error, StateError: state_format, state_broken.
        """
        uri = f"{self.path.absolute().as_uri()}?mode=rw"
        table = sqlite3.connect(uri, uri=True, timeout=5, check_same_thread=not threads)
        try:
            table.isolation_level = None
            # a reader never waits for a writer, so that a new row does not hold up the server
            table.execute("PRAGMA journal_mode = WAL")
            table.execute("PRAGMA synchronous = FULL")
            if _format(table) == 0:
                self._fill(table)
            while _format(table) in self._earlier:
                self._move(table)
            self._must_read(_format(table))
        except BaseException:
            table.close()
            raise
        return table

    def image(self) -> bytes | None:
        """The store as one file, also while others write to it; None when it was never made. Raises StateError."""
        with self.reported():
            if not self.path.exists():
                return None
            with closing(self.connected()) as table, closing(sqlite3.connect(":memory:")) as copy:
                table.backup(copy)
                return copy.serialize()

    def restore(self, image: bytes) -> None:
        """Make the store from such a file, where there is none. Raises StateError: state_format, state_broken."""
        with self.reported():
            write_synced(self.path, image)
            self.path.chmod(0o600)
            with closing(sqlite3.connect(self.path)) as table:
                self._must_read(_format(table))
                self._must_hold(table)
            self.connected().close()

    @contextmanager
    def reported(self) -> Iterator[None]:
        """Raises StateError for what is wrong with the file."""
        try:
            yield
        except sqlite3.Error as error:
            raise StateError("state_broken", f"{self.path}: {error}") from None
        except OSError as error:
            raise StateError("state_broken", f"{self.path}: {error.strerror}") from None

    def _fill(self, table: sqlite3.Connection) -> None:
        table.execute("BEGIN IMMEDIATE")
        with table:
            # two processes may be making it at once
            if _format(table) == 0:
                for statement in self._schemas[self._version]:
                    table.execute(statement)
                table.execute(f"PRAGMA user_version = {self._version:d}")

    def _move(self, table: sqlite3.Connection) -> None:
        table.execute("BEGIN IMMEDIATE")
        with table:
            # another process may have done it meanwhile
            if (before := _format(table)) in self._earlier:
                self._must_hold(table)
                self._earlier[before].move(table)
                table.execute(f"PRAGMA user_version = {before + 1:d}")
                self._must_hold(table)

    def _must_read(self, version: int) -> None:
        if version not in self._schemas:
            raise StateError("state_format", f"{self.path} has a format that this version does not read")

    def _must_hold(self, table: sqlite3.Connection) -> None:
        """Its tables are those that sealpress makes, and there is nothing that runs by itself, such as a trigger."""
        found = table.execute("SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL").fetchall()
        if sorted(sql for (sql,) in found) != sorted(self._schemas[_format(table)]):
            raise StateError("state_broken", f"{self.path} holds other tables than sealpress makes")


def _format(table: sqlite3.Connection) -> int:
    (version,) = table.execute("PRAGMA user_version").fetchone()
    return int(version)
