"""How values are written for a reader. What a journal holds came from callers, so no text of it is taken as it is."""

from __future__ import annotations

import unicodedata
from datetime import UTC, date, datetime

__all__ = ["counted", "day", "grouped", "megabytes", "moment", "number", "period", "plain", "step"]

_LONGEST = 80
# control, format (which turns the direction of writing), surrogate, private and unassigned, line and paragraph breaks
_UNSEEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


def plain(text: str, longest: int = _LONGEST) -> str:
    """A text on one line, cut to a length, with every character that is not seen as itself replaced by U+FFFD."""
    cut = text if len(text) <= longest else text[: longest - 1] + "…"
    return "".join("\ufffd" if unicodedata.category(c) in _UNSEEN else c for c in cut)


def number(value: int) -> str:
    return f"{value:,}"


def counted(value: int, one: str) -> str:
    """1 call, 2 calls."""
    return f"{value:,} {one}" if value == 1 else f"{value:,} {one}s"


def megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB" if size >= 100_000 else f"{size:,} bytes"


def grouped(digest: str) -> str:
    """A digest in groups of four, easier to compare by eye."""
    text = plain(digest)
    return " ".join(text[i : i + 4] for i in range(0, len(text), 4))


def day(value: date, year: bool = True) -> str:
    return f"{value.day} {value:%B}" + (f" {value.year}" if year else "")


def period(first: date, last: date) -> str:
    """1-31 October 2026, with no more words than the two days need."""
    if first == last:
        return day(first)
    if (first.year, first.month) == (last.year, last.month):
        return f"{first.day}–{day(last)}"  # noqa: RUF001 - a range is set with an en dash
    return f"{day(first, year=first.year != last.year)} – {day(last)}"  # noqa: RUF001 - a range is set with an en dash


def moment(at: int) -> str:
    """A time in nanoseconds since 1970, to the second."""
    try:
        return f"{datetime.fromtimestamp(at // 10**9, UTC):%Y-%m-%d %H:%M:%S} UTC"
    except (OverflowError, ValueError, OSError):
        return f"{at} ns, which is no date"


def step(fields: dict[str, object]) -> str:
    """A step of a recipe: its kind, and its settings in brackets."""
    settings = ", ".join(f"{name} {value}" for name, value in sorted(fields.items()) if name != "kind")
    kind = str(fields.get("kind", "step"))
    return plain(f"{kind} ({settings})" if settings else kind, 400)
