"""Take out what was found."""

from __future__ import annotations

from collections.abc import Iterable

from policies.privacy.scanner import THRESHOLD, Detected, scan

__all__ = ["MASK", "MAX_PASSES", "redact"]

# no word, since a word before a number may say what it is; not as long as what stood there, since a length tells, too
MASK = "\u2588\u2588\u2588"
# a text of numbers without anything between them shows one more in each pass: its time would grow with the square
MAX_PASSES = 8


def redact(text: str, findings: Iterable[Detected]) -> str:
    """The text with a mask in the place of every finding, after which the first tier finds nothing in it.

    Where something comes to light only when its neighbour is gone, it is taken out as well; where that goes on and on,
    the text is a mask as a whole. Findings are those of this text, in any order, and may overlap; ValueError for one
    that lies outside it.
    """
    due = sorted(findings, key=lambda one: (one.start, one.end))
    for _ in range(MAX_PASSES):
        if not due:
            return text
        text = _masked(text, due)
        due = [one for one in scan(text) if one.confidence >= THRESHOLD]
    return MASK if due else text


def _masked(text: str, findings: list[Detected]) -> str:
    parts, place = [], 0
    for one in findings:
        if not 0 <= one.start < one.end <= len(text):
            raise ValueError(f"a finding at {one.start} to {one.end} in a text of {len(text)} characters")
        if one.end > place:
            parts += [text[place : one.start], MASK] if one.start >= place else []
            place = one.end
    return "".join([*parts, text[place:]])
