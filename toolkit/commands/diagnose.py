"""sealpress compress diagnose"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import rich_click as click

from toolkit import compress as pressing
from toolkit.cli import output, with_settings
from toolkit.commands.licences import with_licences
from toolkit.commands.progress import spinner
from toolkit.compress.results import Diagnosis
from toolkit.settings import found_settings

__all__ = ["diagnose"]

SHOWN = 10


@click.command()
@click.argument("source")
@click.option("--recipe", help="A .toml file or a name. Default: int8-static with --calibrate, else int8.")
@click.option("--calibrate", type=click.Path(path_type=Path), help="What steps learn from, as in `sealpress compress`.")
@click.option("--evaluate", type=click.Path(path_type=Path), help="What is measured on; none of those above.")
@with_licences
@with_settings
def diagnose(
    source: str,
    recipe: str | None,
    calibrate: Path | None,
    evaluate: Path | None,
    licences: dict[str, Any],
    settings: str | None,
    as_json: bool,
) -> None:
    """Find out where a recipe hurts the model in SOURCE: the first layer whose output goes bad, the layers that cost
    most, the channels that reach far out. Nothing is handed out.

    Example: sealpress compress diagnose ./my-model --recipe int8-static --calibrate texts.txt
    --data-licence LicenseRef-own
    """
    with spinner() as progress:
        found = pressing.diagnose(
            source,
            recipe=recipe,
            calibrate=calibrate,
            evaluate=evaluate,
            settings=found_settings(settings),
            progress=progress,
            **licences,
        )
    output(found, as_json, _shown(found))


def _shown(found: Diagnosis) -> str:
    lines = [
        f"{found.name} by {found.recipe}: fidelity {found.fidelity.mean:.4f}, at least {found.fidelity.low:.4f}",
        f"the export differs from the original by {found.export_error:.1e}",
        *(f"  after {step.kind}: {step.fidelity:.4f}" for step in found.steps if step.fidelity is not None),
    ]
    if found.fall is None:
        lines.append("no layer falls below 20 dB")
    else:
        lines.append(f"first layer below 20 dB: {found.fall.name} ({found.fall.kind}), {found.fall.decibels:.1f} dB")
    lines.append("what one layer alone costs, of the power of the answer:")
    lines += [f"  {one.lost:9.2e}  {one.name} ({one.kind})" for one in found.sensitivity[:SHOWN]]
    lines.append("channels that reach far beyond the others:" if found.outliers else "no channel reaches far out")
    lines += [f"  {one.times:7.1f} times  channel {one.channel} of {one.name}" for one in found.outliers[:SHOWN]]
    return "\n".join(lines)
