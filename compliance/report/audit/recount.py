"""Count a report again: from verified evidence and from what the report says that it was made of."""

from __future__ import annotations

from collections.abc import Iterable
from html.parser import HTMLParser

import msgspec

from compliance.evidence.model import Evidence
from compliance.report.audit.contents import Contents, Inputs
from compliance.report.audit.formats import Format, written
from compliance.report.audit.made import made
from compliance.report.audit.page import META
from compliance.report.audit.printed import attached
from compliance.report.audit.statement import inputs_of, numbers
from compliance.report.errors import ReportError

__all__ = ["recount"]


def recount(content: bytes, form: Format, evidence: Evidence) -> Contents:
    """Make the report anew from the evidence, and compare every number, then every byte.

    Returns what it says. Raises ReportError: report_number (a number is not what the leaves give), report_altered
    (something else is not what was made), report_unwitnessed (it says that a head from outside was compared, and none
    was now), report_malformed; ControlError: answer_forged.
    """
    try:
        inputs, found = _read(content, form)
    except (msgspec.MsgspecError, UnicodeDecodeError, ValueError, LookupError, TypeError):
        raise ReportError("report_malformed", f"this is no report in the format {form}") from None
    if inputs.witnessed and not evidence.witnessed:
        raise ReportError("report_unwitnessed", "the report says that a head from outside was compared")
    anew = made(evidence, inputs)
    expected = written(anew, form)
    if content == expected:
        return anew
    if form != "pdf":
        _compare(found, _read(expected, form)[1])
    raise ReportError("report_altered", "the numbers hold, but the report is not the one that the evidence gives")


Numbers = list[tuple[str, str]]


def _read(content: bytes, form: Format) -> tuple[Inputs, Numbers]:
    """What a report was made of, and its numbers in order, each with its name."""
    match form:
        case "json":
            contents = msgspec.json.decode(content, type=Contents)
            return contents.inputs, [(one.id, repr(one.value)) for one in contents.figures()]
        case "oscal":
            return _inputs(_only(inputs_of(content))), list(numbers(content))
        case "html":
            page = _Page()
            page.feed(content.decode())
            return _inputs(_only(page.inputs)), page.numbers
        case "pdf":
            return _inputs(attached(content)), []


def _inputs(text: str | bytes) -> Inputs:
    return msgspec.json.decode(text, type=Inputs)


def _only(found: Iterable[str]) -> str:
    [one] = found
    return one


def _compare(found: Numbers, expected: Numbers) -> None:
    for (name, said), (_, counted) in zip(found, expected, strict=False):
        if said != counted:
            raise ReportError("report_number", f"{name[:120]!r} says {said[:60]}, and the leaves give {counted[:60]}")
    if len(found) != len(expected):
        raise ReportError("report_number", f"it has {len(found)} numbers, and the leaves give {len(expected)}")


class _Page(HTMLParser):
    """The inputs of a page, and every number as it is meant and as it is shown."""

    def __init__(self) -> None:
        super().__init__()
        self.inputs: list[str] = []
        self.numbers: Numbers = []
        self._of: str | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        if tag == "meta" and found.get("name") == META:
            self.inputs.append(found.get("content") or "")
        if tag == "data":
            self._of = f"number {found.get('data-n')}"
            self.numbers.append((self._of, found.get("value") or ""))

    def handle_data(self, data: str) -> None:
        if self._of is not None:
            self.numbers.append((self._of, data))
            self._of = None
