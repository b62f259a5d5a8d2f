"""The report of a compression, or of a comparison: one page that a product owner reads, and the former as JSON too."""

from __future__ import annotations

from pathlib import Path

import msgspec

from compliance.disk import put
from toolkit.compress.comparison import Comparison
from toolkit.compress.results import Run
from toolkit.extras import needs

__all__ = ["write_comparison", "write_report"]


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
