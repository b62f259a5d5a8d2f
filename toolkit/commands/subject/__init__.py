"""sealpress subject"""

from __future__ import annotations

import rich_click as click

from toolkit.commands.subject.erase import erase
from toolkit.commands.subject.export import export
from toolkit.commands.subject.hold import hold, release

__all__ = ["subject"]


@click.group()
def subject() -> None:
    """Export or erase what was recorded of a person, or keep it from being erased."""


for command in (erase, export, hold, release):
    subject.add_command(command)
