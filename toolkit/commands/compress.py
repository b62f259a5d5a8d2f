"""sealpress compress"""

from __future__ import annotations

from pathlib import Path

import rich_click as click
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from toolkit import compress as pressing
from toolkit.cli import output, with_settings
from toolkit.commands.show import described
from toolkit.settings import found_settings

__all__ = ["compress"]

ITEMS = "Texts (.txt: one a line, .jsonl: {text, label?, score?, slice?}), images (the same with paths, or a folder)"


@click.command()
@click.argument("source")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Where the bundle goes; must not exist.")
@click.option("--budget", help='What to keep to: "size<=20MB, fidelity>=0.99, latency<=0.4x". The best is sought.')
@click.option("--recipe", help=f"One recipe alone: a .toml file, or a name: {', '.join(pressing.RECIPES)}.")
@click.option("--calibrate", type=click.Path(path_type=Path), help=f"{ITEMS} that steps learn from.")
@click.option("--evaluate", type=click.Path(path_type=Path), help="The same to measure on; none of those above.")
@click.option("--trials", type=click.IntRange(1, 1000), default=pressing.TRIALS, show_default=True, help="At most.")
@click.option("--minutes", type=click.FloatRange(0, min_open=True), help="No trial is begun after so many.")
@click.option("--resume", is_flag=True, help="Go on with the run in OUT.run, instead of refusing to touch it.")
@click.option("--licence", help="SPDX identifier, where the source's own papers name none.")
@with_settings
def compress(
    source: str,
    out: Path,
    budget: str | None,
    recipe: str | None,
    calibrate: Path | None,
    evaluate: Path | None,
    trials: int,
    minutes: float | None,
    resume: bool,
    licence: str | None,
    settings: str | None,
    as_json: bool,
) -> None:
    """Press the model in SOURCE to a signed bundle: a Hugging Face or timm directory, an ONNX file, or an architecture
    with local weights, timm:NAME:FILE or torchvision:NAME:FILE (a .safetensors file).

    With --budget, the smallest bundle that keeps to it is looked for. OUT.run holds every trial and the report, also
    when nothing can be handed out.

    Example: sealpress compress ./my-model --budget "size<=20MB, fidelity>=0.99" --calibrate texts.txt --out my.bundle
    """
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("start", total=None)
        bundle = pressing.compress(
            source,
            budget=budget,
            recipe=recipe,
            calibrate=calibrate,
            evaluate=evaluate,
            out=out,
            licence=licence,
            trials=trials,
            minutes=minutes,
            resume=resume,
            settings=found_settings(settings),
            progress=lambda step: bar.update(task, description=step),
        )
    report = out.with_suffix(".run") / "report.html"
    value = {
        "bundle": str(out),
        "report": str(report),
        "manifest": bundle.manifest,
        "measurements": bundle.measurements,
    }
    output(value, as_json, f"{described(bundle)}\n  bundle   {out}\n  report   {report}")
