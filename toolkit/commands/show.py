"""sealpress show"""

from __future__ import annotations

from pathlib import Path

import rich_click as click
from msgspec import UNSET

from toolkit.bundle import Bundle, Measured
from toolkit.cli import output, with_settings
from toolkit.settings import found_settings, read_settings

__all__ = ["described", "show"]


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@with_settings
def show(bundle: Path, settings: str | None, as_json: bool) -> None:
    """Check a bundle and show what it is, where it comes from, and what pressing gained and lost.

    Example: sealpress show model.bundle --json
    """
    found = Bundle.read(bundle, read_settings(found_settings(settings)).trust.signers)
    output({"manifest": found.manifest, "measurements": found.measurements}, as_json, described(found))


def described(bundle: Bundle) -> str:
    """A bundle in a few lines for a person."""
    manifest, before, after = bundle.manifest, bundle.measurements.before, bundle.measurements.after
    item = "one item" if manifest.text is UNSET else "32 tokens"
    parents = ", ".join(f"{a.name} ({a.licence}, {a.digest[:16]})" for a in manifest.lineage)
    return "\n".join(
        (
            f"{manifest.name} {manifest.version}, {manifest.task}, {manifest.licence}",
            f"  digest   {manifest.digest}",
            f"  made of  {parents}",
            f"  steps    {', '.join(str(step['kind']) for step in manifest.recipe)}",
            f"  before   {_line(before, item)}",
            f"  after    {_line(after, item)}",
            f"  gained   {before.size_bytes / after.size_bytes:.2f} times smaller, "
            f"{before.latency_ms / after.latency_ms:.2f} times as fast",
        )
    )


def _line(measured: Measured, item: str) -> str:
    return (
        f"{measured.size_bytes / 1e6:.1f} MB, {measured.latency_ms:.2f} ms ({item}, one thread), "
        f"fidelity {measured.fidelity:.4f}"
    )
