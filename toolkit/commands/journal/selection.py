"""Which records a command of the auditor is about: the options that choose them, and the records that they choose."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from functools import reduce, wraps
from typing import Any, Literal

import rich_click as click
from msgspec import Struct, to_builtins

from compliance.journal.reader import Record, Unread
from compliance.journal.records import Closed, Noted, Opened
from toolkit.reading import Reading

__all__ = ["Filters", "Selection", "unread_text", "with_filters"]


class Filters(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is asked of records; times in nanoseconds since 1970, from the first to before the second."""

    since: int | None = None
    until: int | None = None
    model: str | None = None
    rule: str | None = None
    decision: Literal["allowed", "refused"] | None = None
    purpose: str | None = None
    action: str | None = None
    records: tuple[str, ...] = ()

    @property
    def of_calls(self) -> bool:
        """Whether something is asked that only a call can answer."""
        asked = self.model, self.rule, self.decision, self.purpose, self.action
        return any(value is not None for value in asked)

    def fits(self, metadata: Opened | Noted | Closed) -> bool:
        at = metadata.call.at if isinstance(metadata, Opened) else metadata.at
        if (self.since is not None and at < self.since) or (self.until is not None and at >= self.until):
            return False
        return self._fits_call(metadata) if isinstance(metadata, Opened) else not self.of_calls

    def _fits_call(self, opened: Opened) -> bool:
        call = opened.call
        return (
            (self.model is None or opened.model.get("name") == self.model or call.model.startswith(self.model))
            and (self.rule is None or any(finding.rule == self.rule for finding in opened.against))
            and (self.decision is None or opened.allowed == (self.decision == "allowed"))
            and (self.purpose is None or call.purpose == self.purpose)
            and (self.action is None or call.action == self.action)
        )


class Selection:
    """The records that fit, in the order of writing, and the notes and the outcome of a call behind the call.

    `rows`, where given, are those of the one person that is asked for. It can be gone over more than once;
    `unread` counts, for the last time, the records that could not be looked at. Without filters they are among the
    records, except those that were not released.
    """

    def __init__(self, reading: Reading, filters: Filters, rows: frozenset[bytes] | None) -> None:
        self._walk = reading.walk
        self._source = reading.source
        self._filters = filters
        self._rows = rows
        self.unread: Counter[Unread] = Counter()

    @property
    def asked(self) -> dict[str, Any]:
        """What is asked, to be put on record: of a subject only that there is one."""
        subject = {} if self._rows is None else {"subject": True}
        return {"filters": {**to_builtins(self._filters), **subject}}

    def __iter__(self) -> Iterator[Record]:
        self.unread.clear()
        filters = self._filters
        everything = filters == Filters() and self._rows is None
        calls: set[str] = set()  # that fit and have not ended
        for located in self._walk:
            if filters.records and located.name not in filters.records:
                continue
            if self._rows is not None and located.chain and located.row not in self._rows:
                continue
            record = located.opened(self._source)
            if record.metadata is None:
                self._count(record)
                fits = everything and record.unread != "not_released"
            else:
                fits = record.of in calls or filters.fits(record.metadata)
            if record.kind == "allowed" and fits:
                calls.add(record.record)
            elif record.kind == "closed":
                calls.discard(record.of or "")
            if fits:
                yield record

    def _count(self, record: Record) -> None:
        if record.unread is not None:
            self.unread[record.unread] += 1


def with_filters(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options that choose records: it takes `filters`, and `subject`, about whom they are."""

    @wraps(command)
    def filtered(**given: Any) -> None:
        filters = Filters(**{name: given.pop(name) for name in Filters.__struct_fields__})
        command(filters=filters, **given)

    return reduce(lambda decorated, option: option(decorated), reversed(_OPTIONS), filtered)


def unread_text(unread: Mapping[Unread, int]) -> list[str]:
    """What could not be looked at, for a person, in a line each."""
    return [f"{count} records were not looked at: {_WHY[why]}." for why, count in sorted(unread.items())]


class Time(click.ParamType[int]):
    """A date or a time in ISO 8601, in UTC unless it says otherwise. A date alone is its beginning, or its end."""

    name = "time"

    def __init__(self, *, end: bool) -> None:
        self._end = end

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        try:
            found = datetime.fromisoformat(value)
            if self._end and len(value) <= len("2026-11-30"):
                found += timedelta(days=1)
            if found.tzinfo is None:
                found = found.replace(tzinfo=UTC)
            return (found - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) * 1000
        except (ValueError, OverflowError):
            self.fail(f"{value!r} is no date and no time, such as 2026-11-30 or 2026-11-30T08:00", param, ctx)


_WHY: Mapping[Unread, str] = {
    "erased": "erased",
    "other_auditor": "sealed to other auditors only",
    "not_released": "not among what was released",
}
_OPTIONS = (
    click.option("--from", "since", type=Time(end=False), metavar="TIME", help="From this date or time on, in UTC."),
    click.option(
        "--to", "until", type=Time(end=True), metavar="TIME", help="Until this time, or the end of this date."
    ),
    click.option("--model", help="Only calls of the model with this name, or with this digest or the start of it."),
    click.option("--rule", help="Only calls that this rule was against."),
    click.option("--decision", type=click.Choice(["allowed", "refused"]), help="Only calls with this decision."),
    click.option("--subject", metavar="ID", help="Only what is about this person; on the box only."),
    click.option("--purpose", help="Only calls for this purpose."),
    click.option("--action", help="Only calls of this action, e.g. infer."),
    click.option("--record", "records", multiple=True, help="Only this record, e.g. shard-000/17; may be repeated."),
)
