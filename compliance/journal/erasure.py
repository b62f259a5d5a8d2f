"""Erasure of a subject, legal holds and retention: what was done to the salts, told in the journal.

Destroying the salts of a subject makes its records unreadable to everybody, the auditor among them, and leaves every
hash and with it every proof as it was. GDPR Art. 17; holds are its paragraph 3(e), retention is Art. 5(1)(e).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date

from msgspec import Struct

from compliance.journal.receipts import Written
from compliance.journal.writer import Journal
from compliance.state.disposition import Act, Disposition, Erasable, Group, Scope

__all__ = ["Erasure", "due", "erase", "finish", "hold", "release", "retain"]

DAY_NS = 86_400 * 10**9


class Erasure(Struct, frozen=True, kw_only=True):
    """What was erased, the record that says so, and the receipt for that record (docs/formats.md)."""

    erased: Erasable
    record: Written
    receipt: bytes


def erase(journal: Journal, disposition: Disposition, tenant: str, subject: str, ground: str) -> Erasure:
    """Destroy every salt of a subject. A subject that was never seen is erased, too: of no rows.

    Raises HoldError (then nothing was destroyed), JournalError, StateError. When the journal fails after the salts are
    gone, `finish` tells of it later.
    """
    finish(journal, disposition)
    erased, act = disposition.erase(tenant, subject, ground, journal.now())
    record = _tell(journal, disposition, act)
    return Erasure(erased=erased, record=record, receipt=journal.receipt([record]))


def hold(journal: Journal, disposition: Disposition, tenant: str, scope: Scope, ground: str) -> tuple[str, int]:
    """Keep what is in this scope from being erased or retired. Returns the id of the hold, and how many rows it covers.

    Raises JournalError, StateError.
    """
    finish(journal, disposition)
    act = disposition.hold(tenant, scope, ground, journal.now())
    _tell(journal, disposition, act)
    return act.data["hold"], act.data["rows"]


def release(journal: Journal, disposition: Disposition, tenant: str, hold: str) -> None:
    """Lift a hold. Raises HoldError when there is none with this id, JournalError, StateError."""
    finish(journal, disposition)
    _tell(journal, disposition, disposition.release(tenant, hold))


def due(groups: Iterable[Group], retain_days: Mapping[str, int], default: int | None, at: int) -> tuple[Group, ...]:
    """The groups of which nothing may be kept at this time (ns) any more: days after the end of their month.

    `retain_days` is by purpose; for a purpose that is not declared (any more) it is `default`, and None keeps.
    """

    def over(group: Group) -> bool:
        days = retain_days.get(group.purpose, default)
        return bool(group.month) and days is not None and _end_ns(group.month) + days * DAY_NS <= at

    return tuple(filter(over, groups))


def retain(
    journal: Journal, disposition: Disposition, tenant: str, retain_days: Mapping[str, int], default: int | None
) -> tuple[Group, ...]:
    """Destroy the salts that are due and not held. Returns what was due, of each group the rows that are gone now.

    Raises JournalError, StateError.
    """
    finish(journal, disposition)
    gone, act = disposition.expire(tenant, due(disposition.groups(), retain_days, default, journal.now()))
    _tell(journal, disposition, act)
    return gone


def finish(journal: Journal, disposition: Disposition) -> None:
    """Tell of acts whose process died before it could. Raises JournalError, StateError.

    It comes before every act, so that nothing is destroyed on a box whose journal cannot be written.
    """
    journal.now()
    for act in disposition.untold():
        _tell(journal, disposition, act)


def _tell(journal: Journal, disposition: Disposition, act: Act) -> Written:
    record = journal.record(act.kind, act.data, act.tenant)
    journal.checkpoint()
    disposition.told(act)
    return record


def _end_ns(month: str) -> int:
    """The end of a month written 2025-11, in nanoseconds since 1970."""
    year, number = divmod(int(month[:4]) * 12 + int(month[5:]), 12)
    return (date(year, number + 1, 1) - date(1970, 1, 1)).days * DAY_NS
