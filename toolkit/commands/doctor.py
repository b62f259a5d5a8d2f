"""sealpress doctor"""

from __future__ import annotations

import rich_click as click

from toolkit.cli import output, with_settings
from toolkit.doctor import Finding, examine
from toolkit.settings import found_settings

__all__ = ["doctor"]


@click.command()
@with_settings
@click.pass_context
def doctor(context: click.Context, settings: str | None, as_json: bool) -> None:
    """Say what is missing: keys, disk, clock, backup, witness. Changes nothing, also while the box serves.

    The exit status is 1 when something keeps the box from serving, or lays its keys open.

    Example: sealpress doctor
    """
    findings = examine(found_settings(settings))
    healthy = all(finding.state != "error" for finding in findings)
    output({"ok": healthy, "findings": findings}, as_json, "\n".join(map(_line, findings)))
    if not healthy:
        context.exit(1)


def _line(finding: Finding) -> str:
    lines = [f"{finding.state:<7}  {finding.name}: {finding.text}"]
    if finding.hint is not None:
        lines.append(f"         {finding.hint}")
    return "\n".join(lines)
