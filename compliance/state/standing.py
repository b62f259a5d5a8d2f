"""How the table of salts stands, for whoever only looks: nothing is made, mended or waited for."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from compliance.state.disposition import Backup
from compliance.state.errors import StateError
from compliance.state.table import FORMAT, sized
from compliance.state.table_key import TableKey

__all__ = ["Standing", "standing"]


class Standing(NamedTuple):
    """How many rows were ever destroyed, how many acts the journal does not tell of yet, and the copies there are."""

    destroyed: int
    untold: int
    backups: tuple[Backup, ...]


def standing(path: Path) -> Standing:
    """Raises StateError, also when the key of the table is not beside it."""
    if not path.is_file():
        raise StateError("state_missing", f"{path} does not exist")
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=5)) as table:
            (version,) = table.execute("PRAGMA user_version").fetchone()
            if version != FORMAT:
                raise StateError("state_format", f"{path} has format {version}, this version reads format {FORMAT}")
            table.execute("BEGIN")
            (key,) = table.execute("SELECT key FROM current").fetchone() or (None,)
            (destroyed,) = table.execute("SELECT count(*) FROM tombstones").fetchone()
            (untold,) = table.execute("SELECT count(*) FROM outbox").fetchone()
            backups = table.execute("SELECT id, at, expires FROM backups ORDER BY expires")
            found = Standing(destroyed, untold, tuple(Backup(*row) for row in backups))
        TableKey.read(path.parent, sized(key, 16))
        return found
    except FileNotFoundError as error:
        raise StateError("state_missing", f"{error.filename} does not exist") from None
    except (sqlite3.Error, OSError) as error:
        raise StateError("state_broken", f"{path}: {error}") from None
