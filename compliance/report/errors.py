"""What can stand in the way of a report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from policies.errors import Refused, Unusable

__all__ = ["FontMissing", "ReportError", "ReportExists"]


class ReportError(Refused):
    """A journal or a report that says something else than its own records."""

    hints: ClassVar[Mapping[str, str]] = {
        "report_number": "Do not use the report: make it anew from the evidence, and ask who changed it.",
        "report_altered": "Make the report anew from the evidence with this version, and use that one.",
        "report_unwitnessed": "Give the head that you hold, or the key of the witness, to the check as well.",
        "report_malformed": "Give a report as `sealpress audit report` wrote it, in the format of its ending.",
        "report_counters": "Trust neither number: keep a copy of the box, and ask whoever held its journal key.",
    }


class ReportExists(Unusable):
    """There is a report where one should be written."""

    hints: ClassVar[Mapping[str, str]] = {
        "report_exists": "Give another folder as --out, or move the old report away: nothing is overwritten.",
    }


class FontMissing(Unusable):
    """Characters of a report that no font of the machine has: they would be empty boxes on paper."""

    hints: ClassVar[Mapping[str, str]] = {
        "report_font": "Install a font that has them, for Chinese `apt install fonts-noto-cjk`; the other formats need "
        "none.",
    }
