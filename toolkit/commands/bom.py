"""sealpress bom"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path

import rich_click as click

from compliance.disk import put, refuse_unwritable
from toolkit.bom.contents import Said
from toolkit.bundle import BundleError, Described
from toolkit.cli import output, with_settings
from toolkit.extras import needs
from toolkit.sealed import described
from toolkit.settings import found_settings, read_settings

__all__ = ["bom"]

_TIME = click.DateTime(["%Y-%m-%dT%H:%M:%SZ"])


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--format", "form", required=True, type=click.Choice(["cyclonedx", "spdx"]), help="Which one to write.")
@click.option("--out", type=click.Path(path_type=Path), help="The file to write; must not exist.  [default: print it]")
@click.option("--created", type=_TIME, help="When the document was made, in UTC: no clock is read.")
@click.option("--released", type=_TIME, help="When the model was released, in UTC.")
@click.option("--location", help="The address where the bundle can be had.")
@with_settings
def bom(
    bundle: Path,
    form: str,
    out: Path | None,
    created: datetime | None,
    released: datetime | None,
    location: str | None,
    settings: str | None,
    as_json: bool,
) -> None:
    """Write the bill of materials of a bundle: CycloneDX 1.7 (ML-BOM) or SPDX 3.0.1 (AI profile), as JSON.

    It says what the bundle says and nothing more: files with their digests, licences, ancestors, data, steps, figures,
    limits. The signature is checked first; a sealed bundle is not opened. The same bundle and options give the same
    bytes. SPDX counts as following the AI profile with --released and --location alone, which no bundle knows.

    Example: sealpress bom model.bundle --format cyclonedx --out model.cdx.json
    """
    if out is not None:
        if out.exists():
            raise BundleError("bundle_exists", f"{out} exists already")
        refuse_unwritable(out)
    trust = read_settings(found_settings(settings)).trust
    read = described(bundle, trust.of("models", time.time_ns()))[0]
    document = _written(read, form, Said(created=_utc(created), released=_utc(released), location=location))
    if out is None:
        click.echo(document.decode(), nl=False)
        return
    put(out, document)
    value = {"out": str(out), "format": form, "digest": read.manifest.digest, "signer": read.signer}
    output(value, as_json, f"{out}: {read.manifest.name} {read.manifest.version}, {read.manifest.licence}")


def _written(read: Described, form: str, said: Said) -> bytes:
    with needs("bom"):
        if form == "spdx":
            from toolkit.bom.spdx import spdx

            return spdx(read, said)
        from toolkit.bom.cyclonedx import cyclonedx

        return cyclonedx(read, said)


def _utc(at: datetime | None) -> datetime | None:
    return None if at is None else at.replace(tzinfo=UTC)
