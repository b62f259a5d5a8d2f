"""sealpress seal"""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import msgspec
import rich_click as click

from toolkit.box import Box, Context
from toolkit.cli import output, with_settings
from toolkit.sealing import recipient
from toolkit.sealing import seal as sealed

__all__ = ["seal"]


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option(
    "--to",
    "recipients",
    required=True,
    multiple=True,
    type=click.Path(path_type=Path),
    help="The public key of a box, keys/sealing.pub there, or a usage grant that carries a key; repeatable.",
)
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The file to write, such as NAME.sealed.")
@click.option("--purpose", help="What for, as the settings name it.")
@click.option("--dry-run", is_flag=True, help="Check all of it, and write nothing.")
@with_settings
def seal(
    bundle: Path,
    recipients: tuple[Path, ...],
    out: Path,
    purpose: str | None,
    dry_run: bool,
    settings: str | None,
    as_json: bool,
) -> None:
    """Seal a bundle to boxes and grants: it is opened there, in memory only, and nowhere else.

    Name, version, digest, licence and signer stay readable; the model, its tokenizer and all else does not. Sealed to
    another box it is handed on, so its licences must let it be shared. Compare the fingerprints before you send it.

    Example: sealpress seal model.bundle --to keys/sealing.pub --out model.sealed, or for another box
    sealpress seal model.bundle --to st-mary.grant --out st-mary.sealed --dry-run
    """
    to = [recipient(path) for path in recipients]
    box = Box.open(settings)
    with closing(box.journal):
        made = sealed(box, bundle, to, out, Context(purpose=purpose), dry_run=dry_run)
    value = msgspec.to_builtins(made) | {"out": None if dry_run else str(out)}
    lines = [
        f"{made.name}: {made.digest}",
        *(f"  to {one.replace(':', ' ')}" for one in made.recipients),
        f"  {made.hidden_bytes / 1e6:.1f} MB are sealed",
        "Nothing was written." if dry_run else f"Written: {out}",
    ]
    output(value, as_json, "\n".join(lines))
