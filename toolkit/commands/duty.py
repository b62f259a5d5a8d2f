"""What the commands for incidents and for requests of persons have in common: first on record, then kept and shown."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from typing import Any

import msgspec
import rich_click as click

from compliance.duties.kept import DUTIES, Duties, Duty, clocks
from toolkit.box import Box
from toolkit.cli import output

__all__ = ["answered", "asked_for", "change", "linked", "shown"]

_Change = Callable[[Duties, int], Duty]


def change(settings: str | None, as_json: bool, kind: str, changed: _Change) -> None:
    """Put on record what was changed, with this kind of note, keep it, and show it with the time left."""
    box = Box.open(settings)
    duties = Duties(box.folder / DUTIES)
    with closing(box.journal) as journal:
        now = journal.now()
        try:
            duty = changed(duties, now)
        except msgspec.ValidationError as error:
            raise click.UsageError(f"this cannot be put on record: {error}") from None
        journal.record(kind, duty.told(), box.settings.box.tenant)
        journal.checkpoint()
        duties.keep(duty)
    output(_value(duty, now), as_json, _lines(duty, now))


def linked(command: Callable[..., None]) -> Callable[..., None]:
    """The option that names the request which a command answers."""
    return click.option("--request", "request", metavar="ID", help="The request that this answers; it is closed.")(
        command
    )


def asked_for(box: Box, request: str | None, kinds: tuple[str, ...]) -> Duty | None:
    """The request that is to be answered. Raises DutyError, before anything is done for it."""
    return None if request is None else Duties(box.folder / DUTIES).open(request, kinds)


def answered(box: Box, duty: Duty | None, text: str) -> None:
    """Put on record that the request was answered, on a box whose journal is open, and keep it."""
    if duty is None:
        return
    duties = Duties(box.folder / DUTIES)
    done = duties.updated(duty, text=text, ended=box.journal.now())
    box.journal.record("request_answered", done.told(), box.settings.box.tenant)
    box.journal.checkpoint()
    duties.keep(done)


def shown(settings: str | None, as_json: bool, name: str, kinds: tuple[str, ...]) -> None:
    """Show those of these kinds with the time left."""
    box = Box.open(settings)
    with closing(box.journal) as journal:
        now, found = journal.now(), Duties(box.folder / DUTIES).all(kinds)
    value = {name: [_value(one, now) for one in found]}
    output(value, as_json, "\n".join(_lines(one, now) for one in found) or f"There are no {name} on this box.")


def _value(duty: Duty, now: int) -> dict[str, Any]:
    return {
        **duty.told(),
        "deadlines": [
            {
                "source": one.source,
                "at": one.at,
                "requires": one.requires.en,
                "due": end,
                "left_s": None if end is None else (end - (duty.ended or now)) // 10**9,
            }
            for one, end in clocks(duty)
        ],
    }


def _lines(duty: Duty, now: int) -> str:
    state = "open" if duty.ended is None else f"closed {_moment(duty.ended)}"
    lines = [f"{duty.id}  {duty.kind}, since {_moment(duty.since)}, {state}: {duty.text}"]
    for one, end in clocks(duty):
        lines.append(f"  {one.source} {one.at}: {one.requires.en}; {_left(end, duty, now)}")
    return "\n".join(lines)


def _left(end: int | None, duty: Duty, now: int) -> str:
    if end is None:
        return "at once"
    if duty.ended is not None:
        return f"by {_moment(end)}, {'in time' if duty.ended <= end else 'too late'}"
    hours = abs(end - now) // (3600 * 10**9)
    return f"by {_moment(end)}, {hours // 24} days {hours % 24} hours {'left' if now <= end else 'over'}"


def _moment(at: int) -> str:
    return datetime.fromtimestamp(at // 10**9, UTC).isoformat(" ", "minutes")[:16]
