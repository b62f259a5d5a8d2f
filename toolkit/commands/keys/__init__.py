"""sealpress keys"""

from __future__ import annotations

import rich_click as click

from toolkit.commands.keys.auditor import auditor
from toolkit.commands.keys.days import certify, install, renew, request, revoke, show

__all__ = ["keys"]


@click.group()
def keys() -> None:
    """The keys that sign this box's journal, and the auditors to whom it is sealed."""


for command in (show, renew, request, certify, install, revoke, auditor):
    keys.add_command(command)
