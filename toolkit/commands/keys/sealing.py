"""sealpress keys sealing"""

from __future__ import annotations

from pathlib import Path

import rich_click as click

from compliance.crypto import Opener
from compliance.keys import KeyFault, fingerprint, secret, write_key
from toolkit.cli import output, with_settings
from toolkit.settings import KeySettings, found_settings, read_settings

__all__ = ["sealing"]


@click.group()
def sealing() -> None:
    """The key of this box that bundles are sealed to."""


@sealing.command()
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Write the public key to a new file, too.")
@with_settings
def show(out: Path | None, settings: str | None, as_json: bool) -> None:
    """Show the fingerprint of this box's key, for whoever seals to it to compare.

    Example: sealpress keys sealing show --out st-mary.sealing.pub
    """
    path = found_settings(settings)
    opener = Opener(secret(read_settings(path).keys.sealing, "sealing-private", path.parent))
    if out is not None:
        write_key(out, "sealing-public", opener.public)
    name = fingerprint(opener.public)
    written = "" if out is None else f"\nThe public key: {out}"
    output({"fingerprint": name, "public": None if out is None else str(out)}, as_json, f"Fingerprint: {name}{written}")


@sealing.command()
@with_settings
def create(settings: str | None, as_json: bool) -> None:
    """Make the key, in a box that was made before there were such keys, or whose key was moved away.

    What was sealed to an earlier key opens no more: have it sealed anew.

    Example: sealpress keys sealing create
    """
    path = found_settings(settings)
    source = read_settings(path).keys.sealing
    if source != KeySettings().sealing:
        raise KeyFault(
            "key_exists", f"the settings take the key from {source.partition(':')[0]}, not from a file of the box"
        )
    keys, opener = path.parent / "keys", Opener.generate()
    write_key(keys / "sealing.key", "sealing-private", opener.private_bytes())
    public = keys / "sealing.pub"
    public.unlink(missing_ok=True)
    write_key(public, "sealing-public", opener.public)
    name = fingerprint(opener.public)
    output({"fingerprint": name, "public": str(public)}, as_json, f"The public key: {public}\nFingerprint: {name}")
