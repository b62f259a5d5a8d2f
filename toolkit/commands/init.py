"""sealpress init"""

from __future__ import annotations

from pathlib import Path

import rich_click as click

from toolkit.box import create_box
from toolkit.cli import output, with_settings

__all__ = ["init"]


@click.command()
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@with_settings
def init(folder: Path, settings: str | None, as_json: bool) -> None:
    """Make a new box in FOLDER: settings, keys, and an empty journal.

    The auditor's private key goes into FOLDER-auditor, a folder of its own. Nothing is overwritten.

    Example: sealpress init my-box
    """
    auditor = create_box(folder)
    text = (
        f"Made the box {folder}.\n\n"
        f"The journal is sealed to the auditor's key:\n    {auditor}\n"
        "Move that folder off this machine now (to the auditor, on a medium, into a safe): whoever has it together\n"
        "with the box can read every call, and without it nobody can. There is no second copy.\n\n"
        f"Next: cd {folder}, then `sealpress compress SOURCE --out model.bundle`."
    )
    output({"box": str(folder.resolve()), "auditor_key": str(auditor)}, as_json, text)
