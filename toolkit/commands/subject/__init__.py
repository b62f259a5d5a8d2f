"""sealpress subject"""

from __future__ import annotations

import rich_click as click

from toolkit.commands.subject.erase import erase
from toolkit.commands.subject.export import export
from toolkit.commands.subject.hold import hold, release
from toolkit.commands.subject.request import request

__all__ = ["subject"]


@click.group()
def subject() -> None:
    """Export or erase what was recorded of a person, or keep it from being erased; and answer in time."""


for command in (erase, export, hold, release, request):
    subject.add_command(command)
