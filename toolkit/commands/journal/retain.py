"""sealpress journal retain"""

from __future__ import annotations

import time
from contextlib import closing

import rich_click as click

from compliance.journal.erasure import due
from compliance.journal.erasure import retain as retire
from compliance.state.disposition import Disposition
from toolkit.box import Box
from toolkit.cli import output, with_settings
from toolkit.commands.subject.erase import described_group
from toolkit.commands.subject.hold import described

__all__ = ["retain"]


@click.command()
@click.option("--apply", is_flag=True, help="Do it. Without this it only shows what would go.")
@with_settings
def retain(apply: bool, settings: str | None, as_json: bool) -> None:
    """Make records unreadable for good whose time is over: `retain_days` of their purpose after the end of their month.

    Purposes and their days stand in the settings; for records of no declared purpose it is `retain_days` under
    [journal], without which they are kept. Nothing that is held goes. Every proof still holds.

    Example: sealpress journal retain --apply
    """
    box = Box.open(settings)
    days = {name: purpose.retain_days for name, purpose in box.settings.purposes.items()}
    default = box.settings.journal.retain_days
    with closing(box.journal), Disposition.open(box.salts_path) as disposition:
        if apply:
            groups = retire(box.journal, disposition, box.settings.box.tenant, days, default)
        else:
            groups = due(disposition.groups(), days, default, time.time_ns())
        holds = disposition.holds()
    rows = sum(group.rows for group in groups)
    value = {"applied": apply, "rows": rows, "groups": groups, "holds": holds}
    became = "became" if apply else "would become"
    lines = [f"{rows} salts are due, without which their records {became} unreadable to everybody:"]
    lines += [f"  {described_group(group)}, {group.held} held" for group in groups]
    if holds:
        lines += ["Holds in force:", *(f"  {described(hold)}" for hold in holds)]
    if rows and not apply:
        lines.append("Nothing was changed: --apply does it.")
    output(value, as_json, "\n".join(lines))
