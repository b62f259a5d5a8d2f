"""sealpress incident"""

from __future__ import annotations

import rich_click as click

from compliance.duties.deadlines import INCIDENTS
from toolkit.cli import with_settings
from toolkit.commands.duty import change, shown
from toolkit.commands.journal.selection import Time

__all__ = ["incident"]


@click.group()
def incident() -> None:
    """Put incidents on record, with the deadlines that the law sets for reporting them."""


@incident.command("open")
@click.option("--kind", required=True, type=click.Choice(INCIDENTS), help="What it is: it decides which laws apply.")
@click.option("--happened", type=Time(end=False), metavar="TIME", help="When it happened, as far as known, in UTC.")
@click.option("--known", type=Time(end=False), metavar="TIME", help="When it became known.  [default: now]")
@click.option("--affected", type=click.IntRange(0), help="How many persons it touches, as far as known.")
@click.option("--text", required=True, help="What is known, in words, without naming a person; it goes on record.")
@with_settings
def open_(
    kind: str,
    happened: int | None,
    known: int | None,
    affected: int | None,
    text: str,
    settings: str | None,
    as_json: bool,
) -> None:
    """Put a new incident on record, and show by when whom has to be told.

    Example: sealpress incident open --kind personal-data-breach --known 2026-11-28T08:00 --text "A disk was stolen"
    """
    change(
        settings,
        as_json,
        "incident_opened",
        lambda duties, now: duties.made(
            now, kind=kind, happened=happened, since=now if known is None else known, affected=affected, text=text
        ),
    )


@incident.command()
@click.argument("id")
@click.option("--affected", type=click.IntRange(0), help="How many persons it touches, as far as known by now.")
@click.option("--text", required=True, help="What is known by now; the words from before stay on record.")
@with_settings
def update(id: str, affected: int | None, text: str, settings: str | None, as_json: bool) -> None:
    """Put on record what became known since. No deadline moves.

    Example: sealpress incident update 3f2a9c41d5e6b708 --text "The disk was encrypted" --affected 0
    """
    changes = {"text": text} if affected is None else {"text": text, "affected": affected}
    change(
        settings, as_json, "incident_updated", lambda duties, _: duties.updated(duties.open(id, INCIDENTS), **changes)
    )


@incident.command()
@click.argument("id")
@click.option("--text", required=True, help="How it ended: who was told when, and what was done.")
@with_settings
def close(id: str, text: str, settings: str | None, as_json: bool) -> None:
    """Close an incident, now.

    Example: sealpress incident close 3f2a9c41d5e6b708 --text "The authority was told on 29 November"
    """
    change(
        settings,
        as_json,
        "incident_closed",
        lambda duties, now: duties.updated(duties.open(id, INCIDENTS), text=text, ended=now),
    )


@incident.command("list")
@with_settings
def list_(settings: str | None, as_json: bool) -> None:
    """List the incidents of this box, with the time left of each deadline.

    Example: sealpress incident list --json
    """
    shown(settings, as_json, "incidents", INCIDENTS)
