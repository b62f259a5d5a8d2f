"""sealpress show"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import rich_click as click
from msgspec import UNSET

from toolkit.box import Box
from toolkit.bundle import Described, Entities, Measured
from toolkit.cli import output, with_settings
from toolkit.model import Model
from toolkit.modification import Modification
from toolkit.runtime.entities import tags
from toolkit.sealed import described as facts_of
from toolkit.sealed import opened, told
from toolkit.settings import found_settings, read_settings

__all__ = ["described", "show"]


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--load", is_flag=True, help="Load the model, too, and tell how long that took. It is on record.")
@with_settings
def show(bundle: Path, load: bool, settings: str | None, as_json: bool) -> None:
    """Check a bundle and show what it is, where it comes from, and what pressing gained and lost.

    Of a sealed one all of it can be read, and to whom it is sealed; with --load it is opened, in memory only.

    Example: sealpress show model.bundle --json, or sealpress show model.sealed --load
    """
    trust = read_settings(found_settings(settings)).trust
    found, recipients = facts_of(bundle, trust.of("models", time.time_ns()))
    value: dict[str, Any] = {"manifest": found.manifest, "measurements": found.measurements}
    if found.modification is not None:
        value["modification"] = found.modification
    lines = [described(found), *(f"  sealed   to {one.kind} {one.name}" for one in recipients)]
    if recipients:
        value["sealed_to"] = [{"kind": one.kind, "name": one.name} for one in recipients]
    if load:
        box = Box.open(settings)
        with closing(box.journal):
            model = Model(opened(bundle, box), box)
        value["opened"] = {"seconds": model.seconds, "unsealed": model.unsealed}
        lines.append(f"  {told(model.seconds, model.unsealed)}")
    output(value, as_json, "\n".join(lines))


def described(bundle: Described) -> str:
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
            *(() if bundle.modification is None else (_changed(bundle.modification),)),
        )
    )


def _changed(said: Modification) -> str:
    spent = (
        "" if said.spent is UNSET else f"; training took {said.spent.flops:.2e} operations, {said.spent.cpu_s:g} CPU-s"
    )
    return f"  changed  {said.finding}: {said.why}{spent}"


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
