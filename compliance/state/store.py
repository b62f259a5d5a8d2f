"""A small SQLite store beside the journal, in one file: made with its first row, copied and restored as a whole."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from compliance.disk import write_synced
from compliance.state.errors import StateError

__all__ = ["Store"]


class Store:
    """Where the store is, its format, and the statements that make its tables. Nothing is kept open."""

    def __init__(self, path: Path, version: int, schema: Sequence[str]) -> None:
        self.path = path
        self._version = version
        self._schema = schema

    def exists(self) -> bool:
        return self.path.exists()

    def make(self) -> None:
        """Make the file where there is none; SQLite makes files that everybody may read. Raises OSError."""
        if not self.path.exists():
            os.close(os.open(self.path, os.O_WRONLY | os.O_CREAT, 0o600))

    def connected(self) -> sqlite3.Connection:
        """A connection, with the tables made if there are none. Raises sqlite3.Error, StateError: state_format."""
        table = sqlite3.connect(f"{self.path.absolute().as_uri()}?mode=rw", uri=True, timeout=5)
        try:
            table.isolation_level = None
            # a reader never waits for a writer, so that a new row does not hold up the server
            table.execute("PRAGMA journal_mode = WAL")
            table.execute("PRAGMA synchronous = FULL")
            if _format(table) == 0:
                self._fill(table)
            if _format(table) != self._version:
                raise StateError("state_format", f"{self.path} has a format that this version does not read")
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
            with closing(self.connected()) as table:
                found = table.execute("SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY name").fetchall()
            # nothing that runs by itself, such as a trigger
            if sorted(sql for (sql,) in found) != sorted(self._schema):
                raise StateError("state_broken", f"the backup holds another {self.path.name} than sealpress makes")

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
                for statement in self._schema:
                    table.execute(statement)
                table.execute(f"PRAGMA user_version = {self._version:d}")


def _format(table: sqlite3.Connection) -> int:
    (version,) = table.execute("PRAGMA user_version").fetchone()
    return int(version)
