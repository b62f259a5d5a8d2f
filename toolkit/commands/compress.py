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


@click.command()
@click.argument("source", type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Where the bundle goes; must not exist.")
@click.option("--licence", help="SPDX identifier, where the source's own papers name none.")
@with_settings
def compress(source: Path, out: Path, licence: str | None, settings: str | None, as_json: bool) -> None:
    """Press the model in SOURCE, a Hugging Face directory, to a signed bundle.

    Example: sealpress compress ./all-MiniLM-L6-v2 --out minilm.bundle
    """
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("start", total=None)
        bundle = pressing.compress(
            source,
            out=out,
            licence=licence,
            settings=found_settings(settings),
            progress=lambda step: bar.update(task, description=step),
        )
    value = {"bundle": str(out), "manifest": bundle.manifest, "measurements": bundle.measurements}
    output(value, as_json, f"{described(bundle)}\n  bundle   {out}")
