"""sealpress journal"""

from __future__ import annotations

import rich_click as click

from toolkit.commands.journal.head import head
from toolkit.commands.journal.read import query, read
from toolkit.commands.journal.release import release, request
from toolkit.commands.journal.retain import retain
from toolkit.commands.journal.timestamp import timestamp
from toolkit.commands.journal.verify import prove, verify, verify_proof

__all__ = ["journal"]


@click.group()
def journal() -> None:
    """Check, prove, read and keep the record of every call."""


for command in (head, prove, query, read, release, request, retain, timestamp, verify, verify_proof):
    journal.add_command(command)
