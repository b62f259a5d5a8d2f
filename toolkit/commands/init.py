"""sealpress init"""

from __future__ import annotations

from pathlib import Path

import rich_click as click

from compliance.verify.statements import DAYS_AHEAD
from toolkit.cli import output, with_settings
from toolkit.new_box import create_box

__all__ = ["init"]


@click.command()
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@with_settings
def init(folder: Path, settings: str | None, as_json: bool) -> None:
    """Make a new box in FOLDER: settings, keys, and an empty journal.

    The private keys of its auditor and of its root go into FOLDER-auditor and FOLDER-root. Nothing is overwritten.

    Example: sealpress init my-box
    """
    apart = create_box(folder)
    text = (
        f"Made the box {folder}.\n\n"
        "Move both of these folders off this machine now (onto a medium, into a safe). There is no second copy.\n\n"
        f"    {apart.auditor}\n"
        "        The auditor's key, to which the journal is sealed: whoever has it together with the box can read\n"
        "        every call, and without it nobody can.\n"
        f"    {apart.root}\n"
        "        The root key, which certifies the keys that sign the journal: whoever has it can forge a journal of\n"
        "        this box, and without it the box cannot go on when its keys run out.\n\n"
        f"The box runs for {DAYS_AHEAD} days from today; before then, run `sealpress keys renew --root KEY`.\n\n"
        f"Next: cd {folder}, then `sealpress compress SOURCE --out model.bundle`."
    )
    value = {"box": str(folder.resolve()), "auditor_key": str(apart.auditor), "root_key": str(apart.root)}
    output(value | {"days": DAYS_AHEAD}, as_json, text)
