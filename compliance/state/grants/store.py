"""The file in which the usage grants of a box lie, in format 1, and what was used of each.

    box         one row: a count that grows with every grant that comes or is revoked, not with a call
    grants      one row a grant: its file as it was issued, when it was imported and revoked, and what was used of it
    leases      what is held for calls that run: of which grant, since which start of the machine, and until when

What a grant allows is read from its signed file, never from a column. What was used can be put back by whoever can
write here, and by an old copy of the file: so it is held against the signed counters of the journal (see `meter`).
"""

from __future__ import annotations

from pathlib import Path

from compliance.state.store import Store

__all__ = ["UNITS", "store"]

NAME = "grants.sqlite"
FORMAT = 1

# what is counted of each use, as columns here and as units in the heads of the journal
UNITS = ("calls", "tokens", "cpu_us")

_SCHEMA = (
    "CREATE TABLE box (changes INTEGER NOT NULL) STRICT",
    "CREATE TABLE grants (id TEXT PRIMARY KEY, file BLOB NOT NULL, imported INTEGER NOT NULL, revoked INTEGER,"
    " calls INTEGER NOT NULL, tokens INTEGER NOT NULL, cpu_us INTEGER NOT NULL,"
    " most_tokens INTEGER NOT NULL, most_cpu_us INTEGER NOT NULL) STRICT, WITHOUT ROWID",
    "CREATE TABLE leases (id INTEGER PRIMARY KEY, grant_id TEXT NOT NULL, boot TEXT NOT NULL, until INTEGER NOT NULL,"
    " tokens INTEGER NOT NULL, cpu_us INTEGER NOT NULL) STRICT",
)


def store(state: Path) -> Store:
    """The store of usage grants in a folder `state`."""
    return Store(state / NAME, FORMAT, _SCHEMA)
