"""sealpress audit breach"""

from __future__ import annotations

import msgspec
import rich_click as click

from compliance.duties.readable import Readable, readable
from toolkit.box import Box
from toolkit.cli import output, with_settings
from toolkit.commands.copies import auditor_key
from toolkit.commands.journal.selection import Time
from toolkit.reading import on_box

__all__ = ["breach"]

_KEYS = ("auditor", "salts")


@click.command()
@click.option(
    "--keys",
    required=True,
    multiple=True,
    type=click.Choice(_KEYS),
    help="What was in other hands: the auditor's private key, the box with its salts; may be given twice.",
)
@click.option("--from", "since", required=True, type=Time(end=False), metavar="TIME", help="Since when, in UTC.")
@click.option(
    "--to", "until", required=True, type=Time(end=True), metavar="TIME", help="Until this time, or this day's end."
)
@auditor_key
@with_settings
def breach(keys: tuple[str, ...], since: int, until: int, source: str, settings: str | None, as_json: bool) -> None:
    """Say what was readable to whoever had these keys of the box for a time, for the notice of a breach (GDPR Art. 33).

    The auditor's key that is given is the one that was in other hands. That it opened records is on record first.
    Signing keys and the keys of bundles open no record and are not looked at.

    Example: sealpress audit breach --keys auditor --keys salts --from 2026-11-01 --to 2026-11-03 --auditor-key a.key
    """
    if since >= until:
        raise click.UsageError("--from lies before --to")
    with on_box(Box.open(settings), source) as reading:
        found = readable(
            reading.walk, reading.source, auditor="auditor" in keys, salts="salts" in keys, since=since, until=until
        )
        asked = {"keys": sorted(set(keys)), "since": since, "until": until}
        reading.tell("read", {"breach": asked, "opened": found.records})
    output({**asked, **msgspec.to_builtins(found)}, as_json, _text(found))


def _text(found: Readable) -> str:
    lines = [
        f"Readable: {found.records:,} records, of them {found.calls:,} calls; {found.payloads:,} with a payload.",
        f"Persons: {len(found.subjects):,} pseudonyms, of which a person has one for each month and purpose.",
    ]
    for name in ("models", "purposes", "data", "tenants"):
        counts = getattr(found, name)
        said = ", ".join(f"{one or 'none stated'} ({count:,})" for one, count in counts.items())
        lines.append(f"{name.capitalize()}: {said or 'none'}.")
    lines.append(
        f"Not readable by now: {found.unreadable:,} records. Rows of salts erased before the time: "
        f"{found.erased_before:,}; since it began: {found.erased_since:,}."
    )
    if found.erased_since:
        lines.append("What was erased since may have been read before, and nothing tells any more what it was.")
    if found.other_auditor:
        lines.append(f"Sealed to other auditors only: {found.other_auditor:,} records.")
    return "\n".join(lines)
