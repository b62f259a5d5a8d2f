"""sealpress keys"""

from __future__ import annotations

import rich_click as click

from toolkit.commands.keys.auditor import auditor
from toolkit.commands.keys.days import certify, install, renew, request, revoke, show
from toolkit.commands.keys.sealing import sealing

__all__ = ["keys"]


@click.group()
def keys() -> None:
    """The keys that sign this box's journal, the auditors to whom it is sealed, and what bundles are sealed to."""


for command in (show, renew, request, certify, install, revoke, auditor, sealing):
    keys.add_command(command)
