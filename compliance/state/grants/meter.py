"""The meter: what is left of each usage grant, held before a call is decided, and counted once it has run.

One transaction of SQLite holds a call, so that of many processes with N calls left no more than N get one. What is
held is a lease: a process that dies holds its call until the lease is over, and whoever ends later than that gets no
answer. Leases go by a clock that runs since the machine was started and that nobody can set; those of an earlier start
are over.

Calls are exact. How many tokens and how much time a call takes is known only afterwards: so it is let in while
anything is left, and holds as much as the largest call under this grant took so far. The last one may so take more
than was left, and the next is refused.

What the heads of the journal count under a grant was used, whatever this file says, and so it is with a revocation: an
old file, or none, revives nothing. Safe for threads and over fork.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from threading import Lock
from typing import Literal

from msgspec import Struct

from compliance.crypto import fresh
from compliance.journal.fork import over_fork
from compliance.state.errors import StateError
from compliance.state.grants.errors import GrantError
from compliance.state.grants.store import UNITS, store
from compliance.state.grants.terms import Signed, Terms, covers, read
from compliance.state.model_pattern import fits
from policies.facts import Manifest, Metered, Standing

__all__ = ["MAX_GRANTS", "Kept", "Meter", "Used"]

# each has up to eight lines in every head, of which there are at most a thousand
MAX_GRANTS = 100
# from the last that stands in the way to the first: who has a grant that is spent should not read that there is none
_NEAREST: tuple[Standing, ...] = ("held", "spent", "early", "over", "revoked", "issuer")
_SECOND = 10**9
_LONGEST_S = 86_400

_BY_ID = "SELECT calls, tokens, cpu_us, most_tokens, most_cpu_us, revoked FROM grants WHERE id = ?"
_HELD = "SELECT count(*), coalesce(sum(tokens), 0), coalesce(sum(cpu_us), 0) FROM leases WHERE grant_id = ?"
_OVER = "DELETE FROM leases WHERE boot != ?1 OR until <= ?2 OR until > ?2 + ?3"
_SETTLE = (
    "UPDATE grants SET calls = calls + 1, tokens = tokens + ?2, cpu_us = cpu_us + ?3,"
    " most_tokens = max(most_tokens, ?2), most_cpu_us = max(most_cpu_us, ?3) WHERE id = ?1"
)


class Used(Struct, frozen=True, kw_only=True):
    """What was used of a grant. `cpu_us`: microseconds of processors."""

    calls: int
    tokens: int
    cpu_us: int


class Kept(Struct, frozen=True, kw_only=True):
    """A grant as it lies here: what was used of it, what calls that run hold, and since when it is revoked (ns)."""

    signed: Signed
    imported: int
    revoked: int | None
    used: Used
    held: int

    def state(self, at: int) -> Literal["open", "early", "over", "revoked", "spent"]:
        """How it stands at the time `at` (ns), whatever is held of it."""
        terms = self.signed.terms
        if self.revoked is not None:
            return "revoked"
        if not terms.starts <= at < terms.ends:
            return "early" if at < terms.starts else "over"
        used = (self.used.calls, self.used.tokens, self.used.cpu_us)
        limited = zip(_limits(terms), used, strict=True)
        return "spent" if any(limit is not None and gone >= limit for limit, gone in limited) else "open"


class Meter:
    """The usage grants of a box.

    `box` is the identity of its journal, `models` which ones run under a grant only (patterns as in Terms), and
    `signed` gives what the heads of the journal count, by GRANT/UNIT. `issuers` are the keys of those who are trusted
    with grants now. `durable` counts are on the disk before they are relied on.
    """

    _table: sqlite3.Connection | None = None

    def __init__(
        self,
        state: Path,
        box: str,
        models: tuple[str, ...],
        signed: Callable[[], Mapping[str, int]],
        *,
        lease_s: int = 300,
        durable: bool = False,
    ) -> None:
        self.models = models
        self.lease_s = lease_s
        self._store = store(state)
        self._box = box
        self._signed = signed
        self._durable = durable
        self._reset()
        over_fork(self)

    def hold(self, model: Manifest, at: int, issuers: frozenset[str], under: str | None = None) -> Metered | None:
        """Hold one call of this model at the time `at` (ns); None for a model that needs no grant. `under` is the grant
        that opened a sealed model: it needs that one, whatever the settings name.

        What comes back says under which grant, or why under none; no call is held then. Raises StateError.
        """
        if under is None and not any(fits(pattern, model.name, model.version) for pattern in self.models):
            return None
        nearest = Metered(state="none")
        with self._opened() as table, _writing(table):
            self._look_again(table)
            table.execute(_OVER, (boot(), _now(), _LONGEST_S * _SECOND))
            for grant in self._grants:
                terms = grant.terms
                if under not in (None, terms.id) or not covers(terms, model.name, model.version, model.digest):
                    continue
                found = self._held(table, grant, at, issuers)
                if found.state == "open":
                    return found
                if nearest.state == "none" or _NEAREST.index(found.state) < _NEAREST.index(nearest.state):
                    nearest = found
        return nearest

    def settle(self, metered: Metered, tokens: int, cpu_us: int) -> None:
        """Count a call that has run. Raises GrantError: usage_grant_lease where it was held too long; StateError."""
        with self._opened() as table, _writing(table):
            gone = table.execute("DELETE FROM leases WHERE id = ? RETURNING grant_id", (_number(metered),)).fetchall()
            if not gone:
                raise GrantError("usage_grant_lease", f"the call took longer than the {self.lease_s} s it is held for")
            table.execute(_SETTLE, (metered.grant, tokens, cpu_us))

    def give_back(self, metered: Metered) -> None:
        """Let go of a call that did not run. Raises StateError."""
        if metered.lease is not None:
            with self._opened() as table:
                table.execute("DELETE FROM leases WHERE id = ?", (_number(metered),))

    def must_take(self, signed: Signed, at: int, issuers: frozenset[str]) -> None:
        """Return when a grant may be imported at the time `at` (ns). Raises GrantError: usage_grant_issuer,
        usage_grant_foreign, usage_grant_expired, usage_grant_replayed, usage_grant_many; StateError."""
        terms, counted = signed.terms, self._signed()
        if signed.key not in issuers:
            raise GrantError("usage_grant_issuer", "the grant is signed by somebody who is not trusted with grants")
        if terms.box != self._box:
            raise GrantError("usage_grant_foreign", f"the grant is for the box {terms.box}, this is {self._box}")
        if terms.ends <= at:
            raise GrantError("usage_grant_expired", f"the grant {terms.id} is over")
        here = self._store.exists() and any(kept.signed.terms.id == terms.id for kept in self.all())
        if here or f"{terms.id}/revoked" in counted:
            raise GrantError("usage_grant_replayed", f"the grant {terms.id} was imported before")
        known = {name.rpartition("/")[0] for name in counted if name.endswith("/imported")}
        if len(known - {terms.id}) >= MAX_GRANTS:
            raise GrantError("usage_grant_many", f"{len(known)} grants were imported here already")

    def take(self, signed: Signed, at: int) -> None:
        """Put a grant in that may be imported and is on record. What the journal counts under it was used.

        Raises GrantError, StateError.
        """
        counted = self._counted(signed.terms.id)
        with self._opened(make=True) as table, _writing(table):
            insert = "INSERT OR IGNORE INTO grants VALUES (?, ?, ?, NULL, ?, ?, ?, 0, 0)"
            if not table.execute(insert, (signed.terms.id, signed.file, at, *counted)).rowcount:
                raise GrantError("usage_grant_replayed", f"the grant {signed.terms.id} was imported before")
            _changed(table)

    def revoke(self, id_: str, at: int) -> None:
        """Let nothing more be used under a grant. Raises GrantError: usage_grant_unknown; StateError."""
        self.one(id_)
        with self._opened() as table, _writing(table):
            table.execute("UPDATE grants SET revoked = coalesce(revoked, ?) WHERE id = ?", (at, id_))
            _changed(table)

    def one(self, id_: str) -> Kept:
        """Raises GrantError: usage_grant_unknown; StateError."""
        for kept in self.all():
            if kept.signed.terms.id == id_:
                return kept
        raise GrantError("usage_grant_unknown", f"there is no grant {id_} here")

    def all(self) -> list[Kept]:
        """Every grant of this box, the one first that ends first. Raises StateError."""
        with self._opened() as table, _writing(table):
            self._look_again(table)
            table.execute(_OVER, (boot(), _now(), _LONGEST_S * _SECOND))
            return [self._kept(table, grant) for grant in self._grants]

    def __del__(self) -> None:
        self._let_go()

    def close(self) -> None:
        with self._lock:
            self._let_go()

    def hold_for_fork(self) -> None:
        """No SQLite connection is open while the process is copied."""
        self._lock.acquire()
        self._let_go()

    def go_on_in_parent(self) -> None:
        self._lock.release()

    def forget_in_child(self) -> None:
        self._reset()

    def _reset(self) -> None:
        self._lock = Lock()
        self._table = None
        self._changes = -1
        self._grants: list[Signed] = []

    def _let_go(self) -> None:
        if self._table is not None:
            self._table.close()
            self._table = None

    def _held(self, table: sqlite3.Connection, grant: Signed, at: int, issuers: frozenset[str]) -> Metered:
        """One call under this grant, or why there is none."""
        terms = grant.terms

        def metered(state: Standing, lease: str | None = None) -> Metered:
            tariff = terms.tariff
            band = None if tariff is None else tariff.band
            return Metered(state=state, grant=terms.id, holder=terms.holder, band=band, lease=lease)

        row = table.execute(_BY_ID, (terms.id,)).fetchone()
        if row is None:
            raise StateError("state_broken", f"{self._store.path}: the grant {terms.id} is gone")
        *used, most_tokens, most_cpu_us, revoked = row
        if grant.key not in issuers:
            return metered("issuer")
        if revoked is not None:
            return metered("revoked")
        if not terms.starts <= at < terms.ends:
            return metered("early" if at < terms.starts else "over")
        held = table.execute(_HELD, (terms.id,)).fetchone()
        for limit, gone, kept in zip(_limits(terms), used, held, strict=True):
            if limit is not None and gone + kept >= limit:
                return metered("spent" if gone >= limit else "held")
        lease = int.from_bytes(fresh(8)) >> 1
        until = _now() + self.lease_s * _SECOND
        values = (lease, terms.id, boot(), until, max(1, most_tokens), max(1, most_cpu_us))
        table.execute("INSERT INTO leases VALUES (?, ?, ?, ?, ?, ?)", values)
        return metered("open", f"{lease:016x}")

    def _kept(self, table: sqlite3.Connection, grant: Signed) -> Kept:
        select = "SELECT imported, revoked, calls, tokens, cpu_us FROM grants WHERE id = ?"
        imported, revoked, *used = table.execute(select, (grant.terms.id,)).fetchone()
        (held, _, _) = table.execute(_HELD, (grant.terms.id,)).fetchone()
        amounts = dict(zip(UNITS, used, strict=True))
        return Kept(signed=grant, imported=imported, revoked=revoked, used=Used(**amounts), held=held)

    def _look_again(self, table: sqlite3.Connection) -> None:
        """Read the grants anew when one came or was revoked."""
        row = table.execute("SELECT changes FROM box").fetchone()
        changes = 0 if row is None else row[0]
        if changes == self._changes:
            return
        found = []
        for id_, file in table.execute("SELECT id, file FROM grants").fetchall():
            try:
                grant = read(file)
            except GrantError as error:
                raise StateError("state_broken", f"{self._store.path}: the grant {id_}: {error}") from None
            if (grant.terms.id, grant.terms.box) != (id_, self._box):
                raise StateError("state_broken", f"{self._store.path}: the grant {id_} is not this one")
            found.append(grant)
        self._grants = sorted(found, key=lambda grant: (grant.terms.ends, grant.terms.id))
        self._changes = changes

    def _counted(self, id_: str) -> list[int]:
        counted = self._signed()
        return [counted.get(f"{id_}/{unit}", 0) for unit in UNITS]

    def _believe(self, table: sqlite3.Connection) -> None:
        """What the journal has signed was used, and was revoked: whatever this file says."""
        counted = self._signed()
        with _writing(table):
            for (id_,) in table.execute("SELECT id FROM grants").fetchall():
                least = [counted.get(f"{id_}/{unit}", 0) for unit in UNITS]
                update = "UPDATE grants SET calls = max(calls, ?), tokens = max(tokens, ?), cpu_us = max(cpu_us, ?)"
                table.execute(f"{update} WHERE id = ?", (*least, id_))
                if f"{id_}/revoked" in counted:
                    table.execute("UPDATE grants SET revoked = coalesce(revoked, imported) WHERE id = ?", (id_,))

    @contextmanager
    def _opened(self, *, make: bool = False) -> Iterator[sqlite3.Connection]:
        with self._lock, self._store.reported():
            if self._table is None:
                if not make and not self._store.exists() and any("/imported" in name for name in self._signed()):
                    raise StateError("state_missing", f"{self._store.path} does not exist")
                self._store.make()
                table = self._store.connected(threads=True)
                try:
                    if not self._durable:
                        # a count that a power cut takes is of the class of records that it takes, too
                        table.execute("PRAGMA synchronous = NORMAL")
                    self._believe(table)
                except BaseException:
                    table.close()
                    raise
                self._table = table
                self._changes = -1
            yield self._table


@cache
def boot() -> str:
    """What tells one start of the machine from another, where the system says it."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    except OSError:
        # the clock below begins anew there, and a lease that ends later than any that could be given is over
        return ""


def _now() -> int:
    """Nanoseconds since the machine was started, also while it slept; no setting of the clock moves it."""
    return time.clock_gettime_ns(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def _limits(terms: Terms) -> tuple[int | None, ...]:
    """The most calls, tokens and microseconds, in the order of UNITS."""
    return terms.calls, terms.tokens, None if terms.cpu_s is None else terms.cpu_s * 1_000_000


def _number(metered: Metered) -> int:
    return int(metered.lease or "0", 16)


def _changed(table: sqlite3.Connection) -> None:
    if not table.execute("UPDATE box SET changes = changes + 1").rowcount:
        table.execute("INSERT INTO box VALUES (1)")


@contextmanager
def _writing(table: sqlite3.Connection) -> Iterator[None]:
    """A transaction that nobody else writes beside."""
    table.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        table.execute("ROLLBACK")
        raise
    table.execute("COMMIT")
