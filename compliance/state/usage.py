"""How many calls were made under a quota: counted before each is decided, and given back when it was refused.

One statement of SQLite counts a call, so that of many processes with N calls left no more than N get one. A process
that dies between the two leaves a call counted that was never made: it is lost to the caller, and never made twice.
Tokens are counted in the same way: those that an answer may take before it is made, and those that it took after it.
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

__all__ = ["Counted", "Held", "Short", "Usage"]

HOUR = 3_600 * 10**9
MINUTE_S, DAY_S = 60, 86_400


class Counted(NamedTuple):
    """Calls made before this one, and how many there may be; `taken` when this one was counted among them."""

    usage: int
    quota: int
    taken: bool


class Held(NamedTuple):
    """Tokens that an answer may take, in a minute and a day, counted since 1970 in UTC."""

    account: str
    tokens: int
    minute: int
    day: int


class Short(NamedTuple):
    """So many tokens are `left` of a `limit` in a `window`, "minute" or "day", whose end is `ends_s` seconds away."""

    window: str
    limit: int
    left: int
    ends_s: int


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

    def hold(
        self, account: str, tokens: int, now_s: int, *, per_minute: int | None, per_day: int | None
    ) -> Held | Short:
        """Count the tokens that an answer may take, unless fewer are left. `now_s` is in seconds since 1970. A limit
        that is None is none. Raises StateError."""
        held = Held(account, tokens, now_s // MINUTE_S, now_s // DAY_S)
        with self._opened() as table:
            table.execute("BEGIN IMMEDIATE")
            with table:
                row = table.execute("SELECT minute, in_minute, day, in_day FROM tokens WHERE account = ?", (account,))
                minute, in_minute, day, in_day = row.fetchone() or (held.minute, 0, held.day, 0)
                # another minute or day, also where a clock was set back: nobody has to wait for one that is long over
                in_minute, in_day = in_minute * (minute == held.minute), in_day * (day == held.day)
                # the longer wait first
                for window, limit, used, seconds in (
                    ("day", per_day, in_day, DAY_S),
                    ("minute", per_minute, in_minute, MINUTE_S),
                ):
                    if limit is not None and used + tokens > limit:
                        return Short(window, limit, max(0, limit - used), seconds - now_s % seconds)
                table.execute(
                    "INSERT OR REPLACE INTO tokens VALUES (?, ?, ?, ?, ?)",
                    (account, held.minute, in_minute + tokens, held.day, in_day + tokens),
                )
        return held

    def settle(self, held: Held, used: int) -> None:
        """Of what was held an answer took so much: the rest is given back to the minute and the day it was held in.
        Raises StateError."""
        unused = held.tokens - used
        with self._opened() as table:
            for name in ("minute", "day"):
                table.execute(
                    f"UPDATE tokens SET in_{name} = max(0, in_{name} - ?) WHERE account = ? AND {name} = ?",  # noqa: S608 - names of ours only
                    (unused, held.account, getattr(held, name)),
                )

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
