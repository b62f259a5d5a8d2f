"""sealpress trust"""

from __future__ import annotations

from pathlib import Path

import rich_click as click

from compliance.disk import put
from compliance.keys import fingerprint, read_key, to_text
from toolkit.cli import output, with_settings
from toolkit.settings import found_settings, read_settings, trusting

__all__ = ["trust"]


@click.group()
def trust() -> None:
    """Whose bundles this box accepts."""


@trust.command()
@click.argument("keyfile", type=click.Path(path_type=Path))
@with_settings
def add(keyfile: Path, settings: str | None, as_json: bool) -> None:
    """Accept bundles signed with the key in KEYFILE (the other box's keys/bundle.pub).

    Compare the fingerprint with the signer over another channel first.

    Example: sealpress trust add ../their-bundle.pub
    """
    path = found_settings(settings)
    read_settings(path)
    public = read_key(keyfile, "bundle-verifying")
    changed = trusting(path.read_text("utf-8"), to_text(public))
    put(path, changed.encode())
    value = {"signer": to_text(public), "fingerprint": fingerprint(public)}
    output(value, as_json, f"Trusted: {value['signer']}\nFingerprint: {value['fingerprint']}")
