"""The first tier: patterns and checksums, fast enough to stand in front of every call.

It finds what has a form: addresses, numbers that an office gives out, dates of birth, credentials. Names and free
descriptions have none and are left to models (policies.privacy.detectors). Every quantifier is bounded, so that time
grows linearly with the text.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from operator import itemgetter
from typing import Any

from msgspec import Struct

from policies.privacy import births, cards, credentials, emails, identifiers, network, phones
from policies.privacy.context import Candidate, Context
from policies.privacy.escapes import end as end_of
from policies.privacy.plain import plain

__all__ = ["FOUND", "THRESHOLD", "Detected", "categories", "form", "scan"]

# the categories of this tier
FOUND = frozenset({
    "email", "phone", "card", "bank_account", "ssn", "national_id", "tax_id", "health_id", "company_id", "passport",
    "ip_address", "mac_address", "location", "birth_date", "credential",
})  # fmt: skip

# Counted as found from here on: more likely personal data than not. A wrong refusal costs the caller a legal basis
# that they should be able to name anyway; a miss is personal data used without one.
THRESHOLD = 0.5
SURE = 0.9


_Found = tuple[int, int, Any, float]  # start, end, category, confidence


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
    patterns, offsets = form(text)
    return [
        # a space stands before the text
        Detected(start=offsets[start - 1], end=end_of(text, offsets[end - 2]), category=category, confidence=confidence)
        for start, end, category, confidence in _found(Context(patterns, doubtful=True), set())
    ]


def categories(texts: Iterable[str]) -> frozenset[str]:
    """The categories of personal data that are found with enough confidence in any of the texts."""
    known: set[str] = set()
    for text in texts:
        for _, _, category, confidence in _found(Context(form(text)[0], doubtful=False), known):
            if confidence >= THRESHOLD:
                known.add(category)
    return frozenset(known)


_ESCAPED = re.compile(r"\\([bfnrt])|\\\"")
_DIGIT = re.compile("[0-9]")
_NUMBERS = frozenset(("card", "phone", "ssn", "national_id", "tax_id", "health_id", "company_id"))


def form(text: str) -> tuple[str, Sequence[int]]:
    """What patterns know, and where each of its characters begins in the text as it came."""
    escaped = "\\" in text
    # texts within texts: an escaped end of a line separates as the end of a line does, an escaped quote as a quote
    if escaped:
        text = _ESCAPED.sub(lambda match: "\n\n" if match[1] else '""', text)
    return plain(text) if escaped or not text.isascii() else (text, range(len(text)))


def _found(context: Context, known: set[str]) -> Iterator[_Found]:
    """What is found, in order and without overlap, save what can only be of known categories."""
    for group in _groups(_candidates(context)):
        if len(group) == 1:
            start, end, category, weights = group[0]
            confidence = 0 if category in known else context.confidence(start, weights)
            if confidence > 0:
                yield start, end, category, confidence
        elif not known.issuperset([category for _, _, category, _ in group]):
            yield from _apart(group, context)


def _candidates(context: Context) -> list[Candidate]:
    text = context.text
    found = list(credentials.find(context))
    if "@" in text:
        found += emails.find(context)
    if _DIGIT.search(text):
        if context.stretches:
            found += cards.find(context)
            found += phones.find(context)
            found += identifiers.find(context)
        found += identifiers.lettered(context)
        found += identifiers.passports(context)
        found += births.find(context)
        found += network.find(context)
    found.sort(key=itemgetter(0))
    return found


def _groups(candidates: list[Candidate]) -> Iterator[list[Candidate]]:
    """Those that overlap, together."""
    group: list[Candidate] = []
    reach = 0
    for item in candidates:
        if item[0] >= reach and group:
            yield group
            group = []
        group.append(item)
        reach = max(reach, item[1])
    if group:
        yield group


def _apart(group: list[Candidate], context: Context) -> list[_Found]:
    """Of those that overlap the more certain ones, then the longer, then the earlier."""
    ranked: list[tuple[float, int, int, str]] = []
    first = last = 0
    for start, end, category, weights in group:
        confidence = context.confidence(start, weights)
        if category in _NUMBERS:
            # a part of a number that is sure is none of its own
            if first < start < last:
                continue
            if confidence >= SURE and end > last:
                first, last = start, end
        if confidence > 0:
            ranked.append((-confidence, start - end, start, category))
    starts: list[int] = []
    kept: list[_Found] = []
    for negative, size, start, category in sorted(ranked):
        end, place = start - size, bisect_left(starts, start)
        if (not place or kept[place - 1][1] <= start) and (place == len(kept) or end <= starts[place]):
            starts.insert(place, start)
            kept.insert(place, (start, end, category, -negative))
    return kept
