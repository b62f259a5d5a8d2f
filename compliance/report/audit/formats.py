"""The report in each format, as the bytes of a file."""

from __future__ import annotations

from typing import Literal

import msgspec

from compliance.report.audit.contents import Contents
from compliance.report.audit.page import render
from compliance.report.audit.printed import printed
from compliance.report.audit.statement import assessment

__all__ = ["FILES", "Format", "written"]

Format = Literal["html", "pdf", "json", "oscal"]
FILES: dict[Format, str] = {
    "html": "report.html",
    "pdf": "report.pdf",
    "json": "report.json",
    "oscal": "report.oscal.json",
}


def written(contents: Contents, form: Format) -> bytes:
    """The same contents give the same bytes; in PDF, with the same WeasyPrint, Pango and fonts.

    Raises ModuleNotFoundError or OSError where PDF is asked for and WeasyPrint or Pango is not there.
    """
    match form:
        case "html":
            return render(contents).encode()
        case "json":
            return msgspec.json.format(msgspec.json.encode(contents), indent=1) + b"\n"
        case "oscal":
            return msgspec.json.format(msgspec.json.encode(assessment(contents)), indent=1) + b"\n"
        case "pdf":
            return printed(contents)
