"""How many calls were made under a quota: counted before each is decided, and given back when it was refused.

One statement of SQLite counts a call, so that of many processes with N calls left no more than N get one. A process
that dies between the two leaves a call counted that was never made: it is lost to the caller, and never made twice.
Safe for threads; a process that forks opens its own.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Lock
from typing import NamedTuple

from compliance.state.api_key_table import store
from compliance.state.errors import StateError

__all__ = ["Counted", "Usage"]

HOUR = 3_600 * 10**9


class Counted(NamedTuple):
    """Calls made before this one, and how many there may be; `taken` when this one was counted among them."""

    usage: int
    quota: int
    taken: bool


class Usage:
    """The quotas of the API keys in a folder `state`. `durable` counts are on the disk before they are relied on."""

    def __init__(self, state: Path, *, durable: bool = False) -> None:
        self._store = store(state)
        self._durable = durable
        self._lock = Lock()
        self._table: sqlite3.Connection | None = None
        self._seen: dict[str, int] = {}

    def reserve(self, account: str) -> Counted:
        """Count a call, unless none is left. Raises StateError, also for an account without a quota."""
        update = "UPDATE usage SET used = used + 1 WHERE account = ? AND used < calls RETURNING used, calls"
        with self._opened() as table:
            if rows := table.execute(update, (account,)).fetchall():
                ((used, calls),) = rows
                return Counted(used - 1, calls, taken=True)
            row = table.execute("SELECT used, calls FROM usage WHERE account = ?", (account,)).fetchone()
        if row is None:
            raise StateError("state_broken", f"{self._store.path} holds no quota for the account {account}")
        used, calls = row
        return Counted(used, calls, taken=False)

    def give_back(self, account: str) -> None:
        """Take back what was counted for a call that was not made. Raises StateError."""
        with self._opened() as table:
            table.execute("UPDATE usage SET used = used - 1 WHERE account = ? AND used > 0", (account,))

    def left(self) -> dict[str, int]:
        """How many calls are left to each account that has a quota and a key that stands. Raises StateError."""
        select = (
            "SELECT account, calls - used FROM usage WHERE EXISTS"
            " (SELECT 1 FROM api_keys WHERE api_keys.account = usage.account AND revoked IS NULL) ORDER BY account"
        )
        if not self._store.exists():
            return {}
        with self._opened() as table:
            return dict(table.execute(select).fetchall())

    def saw(self, id_: str, now: int) -> None:
        """A key was used. It is written once an hour, and left out where that would have to wait."""
        if now - self._seen.get(id_, 0) < HOUR:
            return
        self._seen[id_] = now
        upsert = "INSERT INTO seen VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET at = max(at, excluded.at)"
        with suppress(StateError), self._opened() as table:
            table.execute("PRAGMA busy_timeout = 0")
            try:
                table.execute(upsert, (id_, now - now % HOUR))
            finally:
                table.execute("PRAGMA busy_timeout = 5000")

    def close(self) -> None:
        with self._lock:
            if self._table is not None:
                self._table.close()
                self._table = None

    @contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        with self._lock, self._store.reported():
            if self._table is None:
                self._table = self._store.connected(threads=True)
                if not self._durable:
                    # a count that a power cut takes is of the class of records that it takes, too
                    self._table.execute("PRAGMA synchronous = NORMAL")
            yield self._table
