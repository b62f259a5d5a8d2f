"""The table of salts as one value, to be sealed into a backup and made again from it.

It holds everything that opens the salts, so it never touches a disk in clear.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from compliance.state.errors import StateError
from compliance.state.table import FORMAT, SaltTable, Transaction
from compliance.state.table_key import TableKey

__all__ = ["Snapshot", "recreate", "taken"]

_TABLES = ("salts", "tombstones", "holds", "releases", "backups", "outbox")


class Snapshot(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The rows of each table as they lie in it, and the key under which the salts are sealed."""

    format: int
    id: Annotated[bytes, Meta(min_length=16, max_length=16)]
    key: bytes
    tables: dict[str, list[tuple[Any, ...]]]  # SQLite checks the types

    def __repr__(self) -> str:
        return "<snapshot of the salts>"

    @classmethod
    def parsed(cls, data: bytes) -> Snapshot:
        """Raises StateError: state_format, state_broken."""
        try:
            if msgspec.msgpack.decode(data, type=_Versioned).format != FORMAT:
                raise StateError("state_format", f"the salts of the backup have another format than {FORMAT}")
            found = msgspec.msgpack.decode(data, type=cls)
            if found.tables.keys() != set(_TABLES):
                raise ValueError("not these tables")
        except (msgspec.MsgspecError, ValueError):
            raise StateError("state_broken", "the backup holds no table of salts") from None
        return found

    def packed(self) -> bytes:
        return msgspec.msgpack.encode(self)


class _Versioned(Struct):
    format: int


def taken(transaction: Transaction) -> Snapshot:
    """The table as this transaction sees it."""
    table, key = transaction
    rows = {name: table.execute(f"SELECT * FROM {name}").fetchall() for name in _TABLES}  # noqa: S608 - names of ours only, no input
    return Snapshot(format=FORMAT, id=key.id, key=key.packed(), tables=rows)


def recreate(path: Path, snapshot: Snapshot) -> None:
    """Make the table anew where none is, its salts sealed under a fresh key. Raises StateError."""
    SaltTable.create(path)
    key = TableKey.parsed(snapshot.id, snapshot.key, "the backup")
    with closing(SaltTable(path)) as salts, salts.turn() as turn:
        with salts.writing() as (table, _):
            key.write(path.parent)
            try:
                for name, rows in snapshot.tables.items():
                    for row in rows:
                        places = ", ".join("?" * len(row))
                        table.execute(f"INSERT INTO {name} VALUES ({places})", row)  # noqa: S608 - names of _TABLES
            except OverflowError:
                raise sqlite3.DataError("a number that no table holds") from None
            table.execute("UPDATE current SET key = ?", (key.id,))
        with salts.destroying(turn):
            pass  # no row goes, and the key of the snapshot does
