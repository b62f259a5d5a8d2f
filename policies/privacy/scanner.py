"""The first tier: patterns and checksums, fast enough to stand in front of every call.

It finds what has a form: addresses, numbers that an office gives out, dates of birth, credentials. Names and free
descriptions have none and are left to models (policies.privacy.detectors). Every quantifier is bounded, so that time
grows linearly with the text.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from policies.privacy import births, cards, credentials, emails, identifiers, network, phones
from policies.privacy.plain import plain

__all__ = ["FOUND", "THRESHOLD", "Detected", "categories", "scan"]

# the categories of this tier
FOUND = frozenset({
    "email", "phone", "card", "bank_account", "ssn", "national_id", "tax_id", "health_id", "company_id", "passport",
    "ip_address", "mac_address", "location", "birth_date", "credential",
})  # fmt: skip

# Counted as found from here on: more likely personal data than not. A wrong refusal costs the caller a legal basis
# that they should be able to name anyway; a miss is personal data used without one.
THRESHOLD = 0.5
SURE = 0.9


class Detected(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Personal data at `text[start:end]` of the text as it came: of what category, by a name as facts.CATEGORY has
    them, and with what confidence, between 0 and 1."""

    start: int
    end: int
    category: str
    confidence: float


def scan(text: str) -> list[Detected]:
    """The personal data in a text, in order and without overlap; of two that overlap the more certain one stays.

    Also returns what is doubtful, with a confidence below THRESHOLD.
    """
    # texts within texts: an escaped end of a line separates as the end of a line does
    if "\\" in text:
        text = _ESCAPED.sub("  ", text)
    if text.isascii():
        return _find(text)
    # found in the plain form, told in the offsets of the text as it came
    form, offsets = plain(text)
    return [replace(item, start=offsets[item.start], end=offsets[item.end - 1] + 1) for item in _find(form)]


def categories(texts: Iterable[str]) -> frozenset[str]:
    """The categories of personal data that are found with enough confidence in any of the texts."""
    return frozenset(item.category for text in texts for item in scan(text) if item.confidence >= THRESHOLD)


# Where a number of 7 digits or more may begin: not inside a word, a longer number or a decimal fraction. ASCII
# look-arounds, since \b finds no boundary between a digit and a Han character; they stand behind the first character,
# so that the search can skip to it.
_START = re.compile(r"[+(0-9](?<![0-9A-Za-z].)(?<![0-9]\..)(?=(?:[ ().\-/]{0,2}[0-9]){5}[ ().\-/ABab]{0,2}[0-9])")
_ESCAPED = re.compile(r"\\[nrt]")
_DIGIT = re.compile("[0-9]")


def _find(text: str) -> list[Detected]:
    found: list[Detected] = []
    if "@" in text:
        found += [_detected("email", span) for span in emails.find(text)]
    found += [_detected(category, span) for category, *span in credentials.find(text)]
    if _DIGIT.search(text):
        sure = 0
        for match in _START.finditer(text):
            start = match.start()
            # a part of a number that is known for sure is none of its own
            if start >= sure:
                here = _numbers(text, start)
                found += here
                sure = max((one.end for one in here if one.confidence >= SURE), default=sure)
        for finder in (identifiers, network, births):
            found += [_detected(category, span) for category, *span in finder.find(text)]
    elif "::" in text:
        found += [_detected(category, span) for category, *span in network.find(text)]
    return _without_overlap(found) if len(found) > 1 else found


def _numbers(text: str, start: int) -> list[Detected]:
    return [
        *(_detected("card", span) for span in cards.at(text, start)),
        *(_detected("phone", span) for span in phones.at(text, start)),
        *(_detected(category, span) for category, *span in identifiers.at(text, start)),
    ]


def _detected(category: Any, span: Sequence[Any]) -> Detected:
    start, end, confidence = span
    return Detected(start=start, end=end, category=category, confidence=confidence)


def _without_overlap(found: list[Detected]) -> list[Detected]:
    kept: list[Detected] = []
    for item in sorted(found, key=lambda item: (-item.confidence, item.start - item.end, item.start)):
        place = bisect_left(kept, item.start, key=_start)
        before, after = kept[max(0, place - 1) : place], kept[place : place + 1]
        if all(other.end <= item.start for other in before) and all(item.end <= other.start for other in after):
            kept.insert(place, item)
    return kept


def _start(item: Detected) -> int:
    return item.start
