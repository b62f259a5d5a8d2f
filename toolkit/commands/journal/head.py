"""sealpress journal head"""

from __future__ import annotations

import time
from pathlib import Path

import rich_click as click

from compliance.disk import put
from compliance.journal.joint import join
from compliance.witness.witnessed import last_joint_head
from toolkit.box_keys import day_keys
from toolkit.cli import output, with_settings
from toolkit.settings import found_settings, read_settings

__all__ = ["head"]


@click.command()
@click.option("--out", type=click.Path(path_type=Path), help="Write it to this new file instead.")
@with_settings
def head(out: Path | None, settings: str | None, as_json: bool) -> None:
    """Sign a joint head over all shards, and print it: hand it to whoever may have to check the journal later.

    Behind the back of whoever holds a head, the journal cannot be rewritten or cut below it any more.

    Example: sealpress journal head --out /media/box.head
    """
    if out is not None and out.exists():
        raise click.UsageError(f"{out} exists already: nothing is overwritten")
    path = found_settings(settings)
    directory = path.parent / "journal"
    days = day_keys(path.parent, read_settings(path))
    join(directory, days.keyring(), days.signer, time.time_ns())
    note = last_joint_head(directory)
    if out is not None:
        put(out, note.encode())
    output({"head": note}, as_json, note.removesuffix("\n") if out is None else f"Wrote {out}.")
