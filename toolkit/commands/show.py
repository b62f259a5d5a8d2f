"""sealpress show"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import rich_click as click
from msgspec import UNSET

from toolkit.bundle import Bundle, Entities, Measured
from toolkit.cli import output, with_settings
from toolkit.runtime.entities import tags
from toolkit.settings import found_settings, read_settings

__all__ = ["described", "show"]


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@with_settings
def show(bundle: Path, settings: str | None, as_json: bool) -> None:
    """Check a bundle and show what it is, where it comes from, and what pressing gained and lost.

    Example: sealpress show model.bundle --json
    """
    trust = read_settings(found_settings(settings)).trust
    found = Bundle.read(bundle, trust.of("models", time.time_ns()))
    output({"manifest": found.manifest, "measurements": found.measurements}, as_json, described(found))


def described(bundle: Bundle) -> str:
    """A bundle in a few lines for a person."""
    manifest, before, after = bundle.manifest, bundle.measurements.before, bundle.measurements.after
    item = "one item" if manifest.text is UNSET else "32 tokens"
    found = () if manifest.entities is UNSET else _entities(manifest.entities, manifest.labels or ())
    zeros = () if manifest.zeros is UNSET else (_zeros(manifest.zeros),)
    ancestors = [f"{a.relation} {a.name} ({a.licence}, {a.digest[:16] or 'not seen'})" for a in manifest.lineage]
    papers = [name for name in ("LICENSE", "NOTICE", "USE_POLICY") if name in manifest.files]
    return "\n".join(
        (
            f"{manifest.name} {manifest.version}, {manifest.task}, {manifest.licence}",
            f"  digest   {manifest.digest}",
            f"  made of  {', '.join(ancestors)}",
            f"  papers   {', '.join(papers)}",
            f"  steps    {', '.join(str(step['kind']) for step in manifest.recipe)}",
            f"  before   {_line(before, item)}",
            f"  after    {_line(after, item)}",
            f"  gained   {before.size_bytes / after.size_bytes:.2f} times smaller, "
            f"{before.latency_ms / after.latency_ms:.2f} times as fast",
            *zeros,
            *found,
        )
    )


def _entities(entities: Entities, labels: Sequence[str]) -> Iterator[str]:
    """What it finds, in what languages, and how well, as far as that was measured."""
    kinds = sorted({tag.kind for tag in tags(labels)} - {""})
    yield f"  finds    {', '.join(kinds)}"
    yield f"  in       {', '.join(entities.languages) or 'languages that its papers do not name'}"
    for kind, found in entities.kinds.items():
        yield (
            f"  {kind:16} precision {_share(found.precision)} ({found.found} found), "
            f"recall {_share(found.recall)} ({found.gold} marked)"
        )
    yield f"  measured {entities.method or 'never: give --evaluate texts with marked entities'}"


def _zeros(zeros: dict[str, int]) -> str:
    return f"  zeros    {sum(zeros.values()):,} weights of {len(zeros)} layers: smaller when packed, no faster"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _line(measured: Measured, item: str) -> str:
    packed = "" if measured.transport_bytes is UNSET else f" ({measured.transport_bytes / 1e6:.1f} packed)"
    return (
        f"{measured.size_bytes / 1e6:.1f} MB{packed}, {measured.latency_ms:.2f} ms ({item}, one thread), "
        f"fidelity {measured.fidelity:.4f}"
    )
