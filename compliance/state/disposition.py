"""What becomes of salts in the end: they are erased with their subject, expire with their month, or are held.

Each is an act that the journal must tell of. What it has to tell goes into an outbox in the very transaction that acts,
and leaves it when the leaf is signed, so that a crash in between neither loses an act nor invents one. The leaf comes
second: one that says "erased" before it is true would be a lie for good.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct, field, structs

from compliance.crypto import fresh
from compliance.state.errors import HoldError
from compliance.state.generation import Turn
from compliance.state.snapshot import Snapshot, taken
from compliance.state.table import SaltTable

__all__ = ["Act", "Backup", "Disposition", "Erasable", "Group", "Hold", "Release", "Scope"]

# a row `s` that a hold `h` covers; NULL in a hold covers all
_COVERS = """(h.who IS NULL OR h.who IS s.who) AND (h.class IS NULL OR h.class = s.class)
    AND (h.purpose IS NULL OR h.purpose = s.purpose) AND (h.month IS NULL OR h.month = s.month)"""
_HELD = f"EXISTS (SELECT 1 FROM holds h WHERE {_COVERS})"  # noqa: S608 - two constants
_HOLD = "h.id, h.ground, h.at, h.who IS NOT NULL, h.class, h.purpose, h.month"
_GROUPS = f"""SELECT class, purpose, month, sum(NOT {_HELD}), sum({_HELD}) FROM salts s {{}}
    GROUP BY class, purpose, month ORDER BY class, purpose, month"""  # noqa: S608 - a constant twice


class Group(Struct, frozen=True):
    """Rows of one class, purpose and month: how many may be destroyed, and how many are held."""

    class_: str = field(name="class")
    purpose: str
    month: str
    rows: int
    held: int


class Release(Struct, frozen=True):
    """A record that an auditor (by fingerprint) was given to read, at this time (nanoseconds since 1970)."""

    record: str
    at: int
    auditor: str


class Backup(Struct, frozen=True):
    """A copy of the salts that was made, and when it must be gone (nanoseconds since 1970)."""

    id: str
    at: int
    expires: int


class Scope(Struct, frozen=True, kw_only=True):
    """What a hold covers: rows that fit all that is given here. `month` is written 2025-11."""

    subject: str | None = None
    class_: str | None = None
    purpose: str | None = None
    month: str | None = None


class Hold(Struct, frozen=True):
    """A legal hold in force, and its scope; of its subject it says only that there is one."""

    id: str
    ground: str
    at: int
    subject: bool
    class_: str | None = field(name="class")
    purpose: str | None
    month: str | None


class Erasable(Struct, frozen=True):
    """What an erasure destroys, what it cannot reach, and which holds are in its way."""

    groups: tuple[Group, ...]
    releases: tuple[Release, ...]
    backups: tuple[Backup, ...]
    holds: tuple[Hold, ...]

    @property
    def rows(self) -> int:
        return sum(group.rows for group in self.groups)


class Act(Struct, frozen=True):
    """What was done and is to be told as a leaf of this kind, with this data."""

    number: int
    kind: str
    tenant: str
    data: dict[str, Any]


class Disposition:
    """The table in the hands of the one process that acts on it; the others wait. Opened by `open`.

    Times are in nanoseconds since 1970. Everything raises StateError for whatever is wrong with the table.
    """

    def __init__(self, table: SaltTable, turn: Turn) -> None:
        self._table = table
        self._turn = turn

    @classmethod
    @contextmanager
    def open(cls, path: Path) -> Iterator[Disposition]:
        with closing(SaltTable(path)) as table, table.turn() as turn:
            yield cls(table, turn)

    def erasable(self, tenant: str, subject: str, at: int) -> Erasable:
        """What erasing this subject would do at this time."""
        with self._table.reading() as (table, key):
            return _erasable(table, key.hashed(b"who", tenant, subject), at)

    def erase(self, tenant: str, subject: str, ground: str, at: int) -> tuple[Erasable, Act]:
        """Destroy the rows of a subject. Raises HoldError: subject_held, when a hold covers one; then none is."""
        with self._table.destroying(self._turn) as (table, key):
            who = key.hashed(b"who", tenant, subject)
            found = _erasable(table, who, at)
            if found.holds:
                ids = ", ".join(hold.id for hold in found.holds)
                raise HoldError("subject_held", f"records of this subject are held: {ids}")
            _destroy(table, "who = ?", (who,))
            data = {
                "erasure": fresh(8).hex(),
                "ground": ground,
                "rows": found.rows,
                "releases": found.releases,
                "backups": found.backups,
            }
            return found, _to_tell(table, "erased", tenant, data)

    def groups(self) -> tuple[Group, ...]:
        """All rows there are, by class, purpose and month."""
        with self._table.reading() as (table, _):
            return _groups(table)

    def expire(self, tenant: str, groups: Iterable[Group]) -> tuple[tuple[Group, ...], Act]:
        """Destroy the rows of these groups, except those that are held. Returns them with what was destroyed."""
        of_kind = "class = ? AND purpose = ? AND month = ?"
        with self._table.destroying(self._turn) as (table, _):
            gone = tuple(
                structs.replace(group, rows=_destroy(table, of_kind, (group.class_, group.purpose, group.month)))
                for group in groups
            )
            data = {"retention": fresh(8).hex(), "rows": sum(group.rows for group in gone), "groups": gone}
            return gone, _to_tell(table, "retained", tenant, data)

    def holds(self) -> tuple[Hold, ...]:
        """The holds in force, the oldest first."""
        with self._table.reading() as (table, _):
            found = table.execute(f"SELECT {_HOLD} FROM holds h ORDER BY at, id")  # noqa: S608 - a constant
            return _holds(found)

    def hold(self, tenant: str, scope: Scope, ground: str, at: int) -> Act:
        """Keep every row in this scope, also those to come, from being destroyed by anything."""
        named = {"class": scope.class_, "purpose": scope.purpose, "month": scope.month}
        with self._table.writing() as (table, key):
            id_ = fresh(8).hex()
            who = None if scope.subject is None else key.hashed(b"who", tenant, scope.subject)
            table.execute("INSERT INTO holds VALUES (?, ?, ?, ?, ?, ?, ?)", (id_, who, *named.values(), ground, at))
            covered = f"SELECT count(*) FROM salts s JOIN holds h ON {_COVERS} WHERE h.id = ?"  # noqa: S608 - a constant
            (rows,) = table.execute(covered, (id_,)).fetchone()
            data = {"hold": id_, "ground": ground, "rows": rows, "subject": who is not None, **named}
            return _to_tell(table, "held", tenant, data)

    def release(self, tenant: str, hold: str) -> Act:
        """Lift a hold, of which the journal alone keeps the memory. Raises HoldError: hold_unknown."""
        with self._table.writing() as (table, _):
            if not table.execute("DELETE FROM holds WHERE id = ?", (hold,)).rowcount:
                raise HoldError("hold_unknown", "no hold with this id is in force")
            return _to_tell(table, "hold_released", tenant, {"hold": hold})

    def backed_up(self, backup: Backup) -> None:
        """Note that a copy of the salts is about to be made."""
        with self._table.writing() as (table, _):
            table.execute("DELETE FROM backups WHERE expires <= ?", (backup.at,))
            table.execute("INSERT INTO backups VALUES (?, ?, ?)", (backup.id, backup.at, backup.expires))

    def snapshot(self) -> Snapshot:
        """All that the table holds at this moment, with the key that opens it."""
        with self._table.reading() as transaction:
            return taken(transaction)

    def restored(self, tenant: str, data: dict[str, Any]) -> Act:
        """This table comes from a backup, and the journal is to tell so."""
        with self._table.writing() as (table, _):
            return _to_tell(table, "restored", tenant, data)

    def tombstones(self) -> frozenset[bytes]:
        """Every row that was ever destroyed here."""
        with self._table.reading() as (table, _):
            return frozenset(row for (row,) in table.execute("SELECT row FROM tombstones"))

    def bury(self, tombstones: Iterable[bytes]) -> None:
        """Destroy again, in a table that comes from a backup, what was destroyed since."""
        with self._table.destroying(self._turn) as (table, _):
            _bury(table, [(row,) for row in tombstones])

    def untold(self) -> tuple[Act, ...]:
        """Acts of which no leaf is signed yet, in the order in which they were done."""
        with self._table.reading() as (table, _):
            found = table.execute("SELECT number, kind, tenant, data FROM outbox ORDER BY number")
            return tuple(Act(number, kind, tenant, msgspec.json.decode(data)) for number, kind, tenant, data in found)

    def told(self, act: Act) -> None:
        """The leaf of this act is signed."""
        with self._table.writing() as (table, _):
            table.execute("DELETE FROM outbox WHERE number = ?", (act.number,))


def _erasable(table: sqlite3.Connection, who: bytes, at: int) -> Erasable:
    releases = table.execute(
        "SELECT record, at, auditor FROM releases WHERE row IN (SELECT row FROM salts WHERE who = ?)"
        " ORDER BY record, auditor",
        (who,),
    )
    # a copy made before the first of the rows holds none of them
    backups = table.execute(
        "SELECT id, at, expires FROM backups WHERE expires > ? AND at >= (SELECT min(made) FROM salts WHERE who = ?)"
        " ORDER BY expires",
        (at, who),
    )
    holds = table.execute(
        f"SELECT DISTINCT {_HOLD} FROM holds h JOIN salts s ON {_COVERS} WHERE s.who = ? ORDER BY h.at, h.id",  # noqa: S608 - two constants
        (who,),
    )
    return Erasable(
        _groups(table, "WHERE who = ?", (who,)),
        tuple(Release(*row) for row in releases),
        tuple(Backup(*row) for row in backups),
        _holds(holds),
    )


def _groups(table: sqlite3.Connection, condition: str = "", parameters: tuple[object, ...] = ()) -> tuple[Group, ...]:
    return tuple(Group(*row) for row in table.execute(_GROUPS.format(condition), parameters))


def _holds(found: sqlite3.Cursor) -> tuple[Hold, ...]:
    return tuple(Hold(id_, ground, at, bool(subject), *rest) for id_, ground, at, subject, *rest in found)


def _destroy(table: sqlite3.Connection, condition: str, parameters: tuple[object, ...]) -> int:
    """Destroy rows, never one that is held, and return how many."""
    going = table.execute(f"SELECT row FROM salts s WHERE {condition} AND NOT {_HELD}", parameters)  # noqa: S608 - names of ours only, no input
    rows = going.fetchall()
    _bury(table, rows)
    return len(rows)


def _bury(table: sqlite3.Connection, rows: list[tuple[bytes]]) -> None:
    table.executemany("INSERT OR IGNORE INTO tombstones VALUES (?)", rows)
    table.executemany("DELETE FROM releases WHERE row = ?", rows)
    table.executemany("DELETE FROM salts WHERE row = ?", rows)


def _to_tell(table: sqlite3.Connection, kind: str, tenant: str, data: dict[str, Any]) -> Act:
    text = msgspec.json.encode(data).decode()
    number = table.execute("INSERT INTO outbox (kind, tenant, data) VALUES (?, ?, ?)", (kind, tenant, text)).lastrowid
    return Act(number or 0, kind, tenant, msgspec.json.decode(text))
