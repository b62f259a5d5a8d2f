"""By when the law wants an incident reported, or a request of a person answered: data, and the reckoning of time."""

from __future__ import annotations

import calendar
from datetime import UTC, date, datetime, timedelta
from functools import cache
from importlib.resources import files
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from compliance.controls.catalogue import Text

__all__ = ["INCIDENTS", "REQUESTS", "Deadline", "deadlines", "due"]

IncidentKind = Literal[
    "personal-data-breach", "health-data-breach", "serious-incident", "widespread-infringement",
    "critical-infrastructure", "death",
]  # fmt: skip
RequestKind = Literal["access", "rectification", "erasure", "restriction", "portability", "objection"]
INCIDENTS: tuple[str, ...] = IncidentKind.__args__  # type: ignore[attr-defined]  # typeshed has no type for Literal
REQUESTS: tuple[str, ...] = RequestKind.__args__  # type: ignore[attr-defined]  # the same

_Count = Annotated[int, Meta(ge=1, le=1000)]


class Deadline(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a law wants done, by its paragraph. Without hours, days and months it gives no number: at once.

    Where `affected` is there, it applies from so many persons on. `read` is the day on which its words were read in the
    `text` that is named; without it they were not checked.
    """

    id: str
    source: str
    at: str
    kinds: Annotated[tuple[IncidentKind | RequestKind, ...], Meta(min_length=1)]
    requires: Text
    hours: _Count | None = None
    days: _Count | None = None
    months: _Count | None = None
    extension_months: _Count | None = None
    affected: Annotated[int, Meta(ge=1)] | None = None
    read: date | None = None
    text: str = ""

    def __post_init__(self) -> None:
        if (self.read is not None) != bool(self.text):
            raise ValueError("what was read has a text, and what has a text was read")
        if sum(one is not None for one in (self.hours, self.days, self.months)) > 1:
            raise ValueError("a deadline is in one unit")


class _File(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    format: Literal[1]
    deadline: tuple[Deadline, ...]


@cache
def deadlines() -> tuple[Deadline, ...]:
    """All of them, in the order of the file. Raises msgspec.ValidationError."""
    content = files("compliance.duties").joinpath("deadlines.toml").read_bytes()
    return msgspec.toml.decode(content, type=_File).deadline


def due(deadline: Deadline, since: int, *, extended: bool = False) -> int | None:
    """The end of the time (ns) that runs from `since` (ns); None where the law gives no number.

    Hours run from the moment. Days and months run from the next day and end with the last one, in UTC, months on the
    same day of the month or its last (Regulation 1182/71, Art. 3). That a day of rest would move the end is left out:
    it may come earlier here than in law, and never later.
    """
    if deadline.hours is not None:
        return since + deadline.hours * 3600 * 10**9
    months = (deadline.months or 0) + ((deadline.extension_months or 0) if extended else 0)
    if deadline.days is None and not months:
        return None
    day = datetime.fromtimestamp(since // 10**9, UTC).replace(hour=0, minute=0, second=0)
    year, month = divmod(day.year * 12 + day.month - 1 + months, 12)
    last = day.replace(
        year=year, month=month + 1, day=min(day.day, calendar.monthrange(year, month + 1)[1])
    ) + timedelta(days=(deadline.days or 0) + 1)
    return int(last.timestamp()) * 10**9
