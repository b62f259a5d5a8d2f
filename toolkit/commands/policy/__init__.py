"""sealpress policy"""

from __future__ import annotations

import rich_click as click

from toolkit.commands.policy.check import check, show, test
from toolkit.commands.policy.prove import diff, prove
from toolkit.commands.policy.replay import explain, simulate

__all__ = ["policy"]


@click.group()
def policy() -> None:
    """Check, test and explain the rules that stand before every call."""


for command in (check, test, prove, show, diff, explain, simulate):
    policy.add_command(command)
