"""The report as a tagged PDF (PDF/UA-1), through WeasyPrint. What it was made of is attached, for who counts again."""

from __future__ import annotations

import re
import zlib
from datetime import UTC, datetime

import msgspec

from compliance.report.audit.contents import Contents
from compliance.report.audit.page import render

__all__ = ["attached", "printed"]

_NAME = "inputs.json"
_STREAM = re.compile(rb"/Type /EmbeddedFile.*?stream\r?\n(.*?)\r?\nendstream", re.DOTALL)
_MOST = 50_000_000


def printed(contents: Contents) -> bytes:
    """The same contents give the same bytes with the same WeasyPrint, Pango and fonts. Nothing is fetched.

    Raises ModuleNotFoundError or OSError where WeasyPrint or Pango is not there.
    """
    # loads only where it is asked for: it needs a library of the system
    from weasyprint import HTML, Attachment

    made = datetime.fromtimestamp(contents.inputs.made // 10**9, UTC)
    attachment = Attachment(
        string=msgspec.json.encode(contents.inputs), name=_NAME, created=made, modified=made, relationship="Source"
    )
    page = HTML(string=render(contents, "pdf"), url_fetcher=_refused)
    pdf: bytes = page.write_pdf(
        pdf_variant="pdf/ua-1", attachments=[attachment], identifier=bytes.fromhex(contents.evidence)
    )
    return pdf


def attached(content: bytes) -> bytes:
    """The inputs in a PDF that `printed` made. Raises ValueError for any other."""
    [stream] = _STREAM.findall(content)
    reader = zlib.decompressobj()
    try:
        found = reader.decompress(stream, _MOST)
    except zlib.error:
        raise ValueError("the attachment cannot be read") from None
    if reader.unconsumed_tail:
        raise ValueError("the attachment is too large")
    return found


def _refused(url: str) -> dict[str, object]:
    raise ValueError(f"a report needs nothing from elsewhere, and something asked for {url[:80]}")
