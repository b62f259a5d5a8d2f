"""sealpress subject request"""

from __future__ import annotations

import rich_click as click

from compliance.duties.deadlines import REQUESTS
from toolkit.cli import with_settings
from toolkit.commands.duty import change, shown
from toolkit.commands.journal.selection import Time

__all__ = ["request"]


@click.group()
def request() -> None:
    """Put requests of persons on record, with the time in which they have to be answered."""


@request.command()
@click.option("--kind", required=True, type=click.Choice(REQUESTS), help="What the person asks for.")
@click.option("--received", type=Time(end=False), metavar="TIME", help="When it came, in UTC.  [default: now]")
@click.option("--text", required=True, help="A reference, without naming the person; it goes on record.")
@with_settings
def receive(kind: str, received: int | None, text: str, settings: str | None, as_json: bool) -> None:
    """Put a request on record that came in, and show by when it has to be answered (GDPR Art. 12(3)).

    Example: sealpress subject request receive --kind access --received 2026-11-28 --text "letter 2026/113"
    """
    change(
        settings,
        as_json,
        "request_received",
        lambda duties, now: duties.made(now, kind=kind, since=now if received is None else received, text=text),
    )


@request.command()
@click.argument("id")
@click.option("--reason", required=True, help="Why more time is needed, as the person is told.")
@with_settings
def extend(id: str, reason: str, settings: str | None, as_json: bool) -> None:
    """Take two months more, once and while the first month runs. The person has to be told within that month.

    Example: sealpress subject request extend 3f2a9c41d5e6b708 --reason "40 requests at once"
    """
    change(
        settings,
        as_json,
        "request_extended",
        lambda duties, now: duties.extended(duties.open(id, REQUESTS), reason, now),
    )


@request.command()
@click.argument("id")
@click.option("--text", required=True, help="How it was answered, without naming the person; it goes on record.")
@with_settings
def answer(id: str, text: str, settings: str | None, as_json: bool) -> None:
    """Put on record that a request was answered, now. `subject export` and `subject erase` do so with --request ID.

    Example: sealpress subject request answer 3f2a9c41d5e6b708 --text "corrected by letter of 3 March"
    """
    change(
        settings,
        as_json,
        "request_answered",
        lambda duties, now: duties.updated(duties.open(id, REQUESTS), text=text, ended=now),
    )


@request.command("list")
@with_settings
def list_(settings: str | None, as_json: bool) -> None:
    """List the requests of persons, with the time left of each.

    Example: sealpress subject request list --json
    """
    shown(settings, as_json, "requests", REQUESTS)
