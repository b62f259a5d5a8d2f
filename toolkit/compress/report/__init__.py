"""The report of a compression, or of a comparison: one page that a product owner reads, and the former as JSON too."""

from __future__ import annotations

from pathlib import Path

import msgspec

from compliance.disk import put, refuse_unwritable
from toolkit.compress.comparison import Comparison
from toolkit.compress.results import Run
from toolkit.extras import needs

__all__ = ["refuse_no_page", "write_comparison", "write_report"]


def refuse_no_page(file: Path) -> None:
    """Before the bundles are run: raises Failed where the page could not be written, MissingExtra where not made."""
    with needs("report"):
        import toolkit.compress.report.page  # noqa: F401 - so that what is missing is named now
    refuse_unwritable(file)


def write_report(run: Run, folder: Path) -> None:
    """Write report.json and report.html. Raises Failed, and MissingExtra for the page."""
    put(folder / "report.json", msgspec.json.format(msgspec.json.encode(run, order="deterministic")) + b"\n")
    with needs("report"):
        from toolkit.compress.report.page import render
    put(folder / "report.html", render(run).encode())


def write_comparison(found: Comparison, file: Path) -> None:
    """Write the page over what was there. Raises Failed, MissingExtra."""
    with needs("report"):
        from toolkit.compress.report.page import render_comparison
    put(file, render_comparison(found).encode())
