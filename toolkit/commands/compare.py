"""sealpress compare"""

from __future__ import annotations

from io import StringIO
from pathlib import Path

import rich_click as click
from rich.console import Console
from rich.table import Table

from compliance.report.wording import plain
from toolkit.cli import output, with_settings
from toolkit.commands.progress import progress
from toolkit.compress.comparison import Case, Compared, Comparison
from toolkit.compress.report import refuse_no_page, write_comparison
from toolkit.compress.side_by_side import SideBySide
from toolkit.settings import found_settings

__all__ = ["compare"]

WIDTH = 120
SHOWN = 60  # characters of an item


@click.command()
@click.argument("bundles", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    help="Items as `sealpress compress --evaluate` takes them. Those on which the bundles differ most are shown, texts "
    "by their beginning. Without it: texts or inputs that come with sealpress or are made up.",
)
@click.option("--html", type=click.Path(path_type=Path, dir_okay=False), help="Write it as a page, with a picture.")
@with_settings
def compare(
    bundles: tuple[Path, ...], data: Path | None, html: Path | None, settings: str | None, as_json: bool
) -> None:
    """Hold bundles against the first of them: size, latency side by side, agreement, and where they differ most.

    Each is run through the gate and on record. Name a bundle of the original first (pressed with a recipe of `slim`
    alone, it stays FP32) to see what others lost; the fidelity that stands in each bundle is shown as it was recorded.

    Example: sealpress compare fp32.bundle int8.bundle w4.bundle --data texts.txt --html compared.html
    """
    if html is not None:
        refuse_no_page(html)
    sides = SideBySide.of(bundles, data=data, settings=found_settings(settings))
    with progress("compare", sides.runs) as done:
        found = sides.run(done)
    if html is not None:
        write_comparison(found, html)
    output(found, as_json, _shown(found, html))


def _shown(found: Comparison, html: Path | None) -> str:
    console = Console(file=StringIO(), width=WIDTH, markup=False, highlight=False)
    table = Table("", "Bundle", "MB", "Packed", f"ms, {found.batch}", "Agreement (90 %)", "Recorded")
    metrics = sorted({name for one in found.bundles for name in one.task})
    for name in metrics:
        table.add_column(plain(name))
    for number, one in enumerate(found.bundles, start=1):
        table.add_row(f"{number}", *_row(one), *(_span(one, name) for name in metrics))
    console.print(table)
    if found.cases:
        console.print("Where they differ most:")
        console.print(_cases(found.cases, len(found.bundles)))
    else:
        console.print("They answer alike to every item.")
    console.print(f"Agreement: {found.method['agreement']}.")
    console.print(f"On {found.method['items']}; {found.machine}.")
    if html is not None:
        console.print(f"Page: {html}")
    drawn = console.file.getvalue() if isinstance(console.file, StringIO) else ""
    return drawn.rstrip("\n")


def _row(one: Compared) -> tuple[str, ...]:
    agreement = one.agreement
    return (
        plain(one.bundle),
        f"{one.size_bytes / 1e6:.2f}",
        f"{one.transport_bytes / 1e6:.2f}",
        f"{one.latency_ms:.2f}",
        "the first" if agreement is None else f"{agreement.mean:.4f} ({agreement.low:.4f} to {agreement.high:.4f})",
        f"{one.recorded:.4f}",
    )


def _span(one: Compared, name: str) -> str:
    metric = one.task.get(name)
    return "" if metric is None else f"{metric.mean:.3f} ({metric.low:.3f} to {metric.high:.3f})"


def _cases(cases: tuple[Case, ...], bundles: int) -> Table:
    """What each bundle said where there are classes, else how near it came to the first."""
    named = [f"{number}" if cases[0].classes else f"{number} to 1" for number in range(1, bundles + 1)]
    table = Table("Item", *(named if cases[0].classes else named[1:]), "What it was")
    for case in cases:
        said = [plain(name, 20) for name in case.classes] or [f"{score:.4f}" for score in case.scores]
        table.add_row(f"{case.number}", *said, plain(case.shown, SHOWN))
    return table
