"""sealpress countersign"""

from __future__ import annotations

import time
from pathlib import Path

import rich_click as click

from compliance.crypto import CurveSigner
from compliance.disk import put, refuse_unwritable
from compliance.keys import fingerprint, pem
from toolkit.bundle import Bundle, BundleError
from toolkit.cli import output, with_settings
from toolkit.countersign import countersigned
from toolkit.sealed import must_be_plain
from toolkit.settings import found_settings, read_settings

__all__ = ["countersign"]


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option(
    "--key", required=True, help="A private key in PEM on P-256, P-384 or P-521: a file, env:NAME, command:..."
)
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The signature; must not exist.")
@with_settings
def countersign(bundle: Path, key: str, out: Path, settings: str | None, as_json: bool) -> None:
    """Sign a bundle once more, for whoever checks models with `model_signing verify key` (OpenSSF Model Signing 1.0).

    The signature of the bundle is checked first, and stays what boxes of sealpress accept. The new one names every file
    and lies beside the bundle, which has no further file. It needs a key of another kind, since that tool knows no
    Ed25519.

    Example: sealpress countersign model.bundle --key release.pem --out model.sig
    """
    if out.exists():
        raise BundleError("bundle_exists", f"{out} exists already")
    if bundle.resolve() in out.resolve().parents:
        raise click.UsageError(f"{out} lies in the bundle, which has no further file: write it beside the bundle.")
    refuse_unwritable(out)
    must_be_plain(bundle, "countersigned")
    trust = read_settings(found_settings(settings)).trust
    read = Bundle.read(bundle, trust.of("models", time.time_ns()))
    signer = CurveSigner(pem(key))
    put(out, countersigned(read.manifest.name, read.digests, signer))
    value = {"out": str(out), "digest": read.manifest.digest, "key": fingerprint(signer.public)}
    output(value, as_json, f"{out}: {read.manifest.name}, {len(read.digests)} files, key {value['key']}")
