"""The second tier: models that look at a payload before its call is decided, and find what has no form, such as names.

What they find stands in the facts apart from what the first tier finds, so that rules can give it another weight.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Protocol

from policies.errors import Ungated
from policies.facts import Call
from policies.privacy.scanner import Detected

__all__ = ["Detector", "Spans", "look", "must_look"]

# what was found in each text, by the text
Spans = Mapping[str, tuple[Detected, ...]]


class Detector(Protocol):
    """A model that finds personal data. `digest` is that of the model; it runs under a recorded grant of its own."""

    @property
    def digest(self) -> str: ...
    def scan(self, texts: Sequence[str], call: Call) -> Sequence[Sequence[Detected]]:
        """What it finds in each text of the payload of `call`. Raises whatever is in the way: nothing runs then."""
        ...


def must_look(detectors: Sequence[Detector], call: Call) -> None:
    """Raises Ungated "detector_missing" where the one that a call needs is none of these."""
    if call.detector is not None and call.detector not in {detector.digest for detector in detectors}:
        raise Ungated("detector_missing", f"the call needs the detector {call.detector[:16]}, which was not brought")


def look(detectors: Sequence[Detector], texts: Sequence[str], call: Call) -> Spans:
    """What the detectors find, by text, in order. Texts without a letter name nobody and are not looked at.

    Raises what a detector raises; ValueError for spans that are not of their text.
    """
    due = tuple(dict.fromkeys(text for text in texts if _LETTER.search(text)))
    spans: dict[str, list[Detected]] = {text: [] for text in due}
    for detector in detectors if due else ():
        for text, found in zip(due, detector.scan(due, call), strict=True):
            if not all(0 <= one.start < one.end <= len(text) for one in found):
                raise ValueError("a finding of a detector lies outside of its text")
            spans[text] += found
    return {text: tuple(sorted(found, key=lambda one: (one.start, one.end))) for text, found in spans.items() if found}


_LETTER = re.compile(r"[^\W\d_]")
