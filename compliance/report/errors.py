"""What can stand in the way of a report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from policies.errors import Refused, Unusable

__all__ = ["ReportError", "ReportExists"]


class ReportError(Refused):
    """A journal that holds, but says two different things about the same calls."""

    hints: ClassVar[Mapping[str, str]] = {
        "report_counters": "Trust neither number: keep a copy of the box, and ask whoever held its journal key.",
    }


class ReportExists(Unusable):
    """There is a report where one should be written."""

    hints: ClassVar[Mapping[str, str]] = {
        "report_exists": "Give another folder as --out, or move the old report away: nothing is overwritten.",
    }
