"""sealpress subject erase"""

from __future__ import annotations

import time
from contextlib import closing
from pathlib import Path

import msgspec
import rich_click as click

from compliance.disk import put
from compliance.journal.erasure import erase as erase_subject
from compliance.state.disposition import Disposition, Erasable, Group
from compliance.verify.leaf import record_name
from compliance.verify.statements import day_of
from toolkit.box import Box, Context
from toolkit.cli import output, with_settings
from toolkit.commands.duty import answered, asked_for, linked
from toolkit.commands.subject.hold import described

__all__ = ["described_group", "erase"]


@click.command()
@click.argument("identifier", metavar="ID")
@click.option("--ground", required=True, help="Why, for the record, e.g. a reference; without naming the person.")
@click.option("--tenant", help="Whose subject it is.  [default: the tenant of the settings]")
@click.option("--dry-run", is_flag=True, help="Show what would be erased, and change nothing.")
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), help="Write the receipt of the erasure to a new file."
)
@linked
@with_settings
def erase(
    identifier: str,
    ground: str,
    tenant: str | None,
    dry_run: bool,
    out: Path | None,
    request: str | None,
    settings: str | None,
    as_json: bool,
) -> None:
    """Make every record of the person ID unreadable for good, to the auditor as well. Every proof still holds.

    What was released to an auditor before, and backups until they expire, are out of reach: they are named here and in
    the journal. Flash storage may keep deleted bytes, which open with nothing unless it keeps the old key, too.

    Example: sealpress subject erase patient-7 --ground "request of 2 March" --out erasure.json
    """
    Context(subject=identifier)  # the same limits as in a call
    if out is not None and (out.exists() or not out.parent.is_dir()):
        raise click.UsageError(f"{out} exists already, or its folder does not")
    box = Box.open(settings)
    duty = asked_for(box, request, ("erasure", "objection"))
    tenant = tenant or box.settings.box.tenant
    with closing(box.journal), Disposition.open(box.salts_path) as disposition:
        if dry_run:
            found = disposition.erasable(tenant, identifier, time.time_ns())
            output({"erased": False, **_value(found)}, as_json, _text(found, "would become"))
            return
        done = erase_subject(box.journal, disposition, tenant, identifier, ground)
        record = record_name(done.record.shard, done.record.sequence)
        answered(box, duty, f"erased, {record}")
    if out is not None:
        put(out, done.receipt)
    value = {"erased": True, **_value(done.erased), "record": record, "receipt": msgspec.json.decode(done.receipt)}
    output(value, as_json, f"{_text(done.erased, 'became')}\nThe journal says so in {record}.")


def described_group(group: Group) -> str:
    """Rows in one line."""
    return f"{group.class_}, {group.purpose or 'no purpose'}, {group.month or 'all months'}: {group.rows}"


def _value(found: Erasable) -> dict[str, object]:
    return {"rows": found.rows, **msgspec.to_builtins(found)}


def _text(found: Erasable, became: str) -> str:
    lines = [f"{found.rows} salts, without which the records of this person {became} unreadable to everybody:"]
    lines += [f"  {described_group(group)}" for group in found.groups]
    if found.releases:
        lines.append("Out of reach, since released to an auditor before:")
        lines += [f"  {one.record} on {day_of(one.at)} to {one.auditor}" for one in found.releases]
    if found.backups:
        lines.append("Out of reach until they expire:")
        lines += [f"  backup {one.id}, until {day_of(one.expires)}" for one in found.backups]
    if found.holds:
        lines.append("In the way:")
        lines += [f"  {described(hold)}" for hold in found.holds]
    return "\n".join(lines)
