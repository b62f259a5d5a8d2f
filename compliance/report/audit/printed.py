"""The report as a tagged PDF (PDF/UA-1), through WeasyPrint. What it was made of is attached, for who counts again."""

from __future__ import annotations

import logging
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import msgspec

from compliance.report.audit.contents import Contents
from compliance.report.audit.page import render
from compliance.report.errors import FontMissing

__all__ = ["attached", "printed"]

_NAME = "inputs.json"
_STREAM = re.compile(rb"/Type /EmbeddedFile.*?stream\r?\n(.*?)\r?\nendstream", re.DOTALL)
_MOST = 50_000_000
_SCRIPTS = "\u2e80"  # characters from here on are writing, those before it letters, which fonts have, and marks
_TOLD = 5  # characters that the error shows


def printed(contents: Contents) -> bytes:
    """The same contents give the same bytes with the same WeasyPrint, Pango and fonts. Nothing is fetched.

    Raises ModuleNotFoundError or OSError where WeasyPrint or Pango is not there, FontMissing where no font has a
    character.
    """
    # loads only where it is asked for: it needs a library of the system
    from weasyprint import HTML, Attachment

    made = datetime.fromtimestamp(contents.inputs.made // 10**9, UTC)
    attachment = Attachment(
        string=msgspec.json.encode(contents.inputs), name=_NAME, created=made, modified=made, relationship="Source"
    )
    page = HTML(string=render(contents, "pdf"), url_fetcher=_refused)
    with _fonts():
        pdf: bytes = page.write_pdf(
            pdf_variant="pdf/ua-1", attachments=[attachment], identifier=bytes.fromhex(contents.evidence)
        )
    return pdf


@contextmanager
def _fonts() -> Iterator[None]:
    """Raise FontMissing where WeasyPrint warned of a character that it drew as a box."""
    missing = _Missing()
    logger = logging.getLogger("weasyprint")
    logger.addHandler(missing)
    try:
        yield
    finally:
        logger.removeHandler(missing)
    if missing.found:
        some = " ".join(sorted(missing.found)[:_TOLD])
        raise FontMissing("report_font", f"no font here has {len(missing.found)} characters of the report, as {some}")


class _Missing(logging.Handler):
    """The characters of writing that WeasyPrint warns of; its message has the character and its number as arguments."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.found: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        if isinstance(record.args, tuple) and len(record.args) == 2 and ".notdef" in record.msg:
            character = str(record.args[0])
            # a mark that is missing has words beside it
            if character >= _SCRIPTS:
                self.found.add(character)


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
