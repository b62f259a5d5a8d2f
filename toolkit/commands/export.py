"""sealpress export"""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import rich_click as click

from toolkit.box import Box, Context
from toolkit.cli import output, with_settings
from toolkit.export import export as exported

__all__ = ["export"]


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The archive; must not exist.")
@click.option("--purpose", help="What for, as the settings name it.")
@with_settings
def export(bundle: Path, out: Path, purpose: str | None, settings: str | None, as_json: bool) -> None:
    """Make an archive of a bundle to hand on, where its licences let derivatives be shared; otherwise it is refused.

    Licence texts and notices go with it, and the same bundle gives the same archive. Whoever gets it has to trust its
    signer.

    Example: sealpress export model.bundle --out model.tar
    """
    box = Box.open(settings)
    with closing(box.journal):
        found = exported(box, bundle, out, Context(purpose=purpose))
    value = {"archive": str(out), "digest": found.manifest.digest, "licence": found.manifest.licence}
    output(value, as_json, f"{out}: {found.manifest.name}, {found.manifest.licence}")
