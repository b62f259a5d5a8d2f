"""sealpress subject hold, sealpress subject release"""

from __future__ import annotations

import re
from contextlib import closing

import rich_click as click

from compliance.journal import erasure
from compliance.state.disposition import Disposition, Hold, Scope
from compliance.verify.statements import day_of
from toolkit.box import Box, Context
from toolkit.cli import output, with_settings

__all__ = ["described", "hold", "release"]


@click.command()
@click.argument("identifier", metavar="[ID]", required=False)
@click.option("--ground", required=True, help="Why, for the record, e.g. a reference; without naming the person.")
@click.option("--class", "class_", help="Only records of this class, e.g. infer.")
@click.option("--purpose", help="Only records of this purpose.")
@click.option("--month", help="Only records of this month, e.g. 2025-11.")
@click.option("--tenant", help="Whose subject it is.  [default: the tenant of the settings]")
@with_settings
def hold(
    identifier: str | None,
    ground: str,
    class_: str | None,
    purpose: str | None,
    month: str | None,
    tenant: str | None,
    settings: str | None,
    as_json: bool,
) -> None:
    """Keep the records of the person ID, or all of a class, purpose or month, from being erased or retired.

    It prints the id of the hold, which `sealpress subject release` takes.

    Example: sealpress subject hold patient-7 --ground "court order 12/26"
    """
    if not any((identifier, class_, purpose, month)):
        raise click.UsageError("name a person, a class, a purpose or a month")
    if month is not None and not re.fullmatch(r"[0-9]{4}-(0[1-9]|1[0-2])", month):
        raise click.UsageError("a month is written 2025-11")
    Context(subject=identifier)  # the same limits as in a call
    scope = Scope(subject=identifier, class_=class_, purpose=purpose, month=month)
    box = Box.open(settings)
    with closing(box.journal), Disposition.open(box.salts_path) as disposition:
        made, rows = erasure.hold(box.journal, disposition, tenant or box.settings.box.tenant, scope, ground)
    text = f"Held: {rows} salts, and those to come. `sealpress subject release {made}` ends it."
    output({"hold": made, "rows": rows}, as_json, text)


@click.command()
@click.argument("identifier", metavar="ID")
@with_settings
def release(identifier: str, settings: str | None, as_json: bool) -> None:
    """End the hold ID. What it kept can be erased and retired again.

    Example: sealpress subject release 4be1c0a7f3d29e58
    """
    box = Box.open(settings)
    with closing(box.journal), Disposition.open(box.salts_path) as disposition:
        erasure.release(box.journal, disposition, box.settings.box.tenant, identifier)
    output({"released": identifier}, as_json, f"Released {identifier}.")


def described(hold: Hold) -> str:
    """A hold in one line."""
    scope = [*(["one person"] if hold.subject else []), *filter(None, (hold.class_, hold.purpose, hold.month))]
    return f"hold {hold.id} of {day_of(hold.at)} on {', '.join(scope)}: {hold.ground}"
