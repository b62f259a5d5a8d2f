"""Take personal data out of a payload before it is decided on anew: masked, or replaced by pseudonyms."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import get_args

from policies.facts import Call, Decision, Sanitising
from policies.payload import InputError, Payload
from policies.privacy import Detected, categories, redact, scan
from policies.privacy.redaction import MASK, MAX_PASSES
from policies.privacy.scanner import THRESHOLD

__all__ = ["Pseudonymise", "sanitised", "undone"]

# the text with a pseudonym in the place of every finding
Pseudonymise = Callable[[str, Iterable[Detected]], str]

_SANITISING: tuple[Sanitising, ...] = get_args(Sanitising)


def undone(decision: Decision, call: Call) -> Sanitising | None:
    """What a decision asks to be done to the payload of a call, if it was not done to it."""
    done = None if call.sanitised is None else call.sanitised.kind
    asked = {one.kind for one in decision.obligations} - {done}
    return next((kind for kind in _SANITISING if kind in asked), None)


def sanitised(kind: Sanitising, payload: Payload, pseudonymise: Pseudonymise | None) -> Payload | None:
    """The payload in its form, with its texts changed, in which the first tier finds nothing any more.

    None where that cannot be had: something is found in a key, a number or the name of a blob, without which it would
    be another payload; there is nobody to make pseudonyms; or with them it is too large.
    """
    try:
        clean = Payload.checked(_changed(payload.value, _change(kind, pseudonymise)), payload.blobs)
    except InputError:
        return None
    return None if categories(clean.texts()) else clean


def _change(kind: Sanitising, pseudonymise: Pseudonymise | None) -> Callable[[str], str]:
    if kind == "redact":
        return lambda text: redact(text, _found(text))
    if pseudonymise is None:
        return lambda text: text
    return lambda text: pseudonymise(text, _uncovered(text))


def _changed(value: object, change: Callable[[str], str]) -> object:
    """A checked value with every text changed that is no key: as many texts as before, and none that is empty."""
    match value:
        case str():
            return change(value)
        case list():
            return [_changed(item, change) for item in value]
        case dict():
            return {key: _changed(item, change) for key, item in value.items()}
    return value


def _found(text: str) -> list[Detected]:
    return [one for one in scan(text) if one.confidence >= THRESHOLD]


def _uncovered(text: str) -> list[Detected]:
    """The findings in a text, and those that come to light once these are gone; for a text has its pseudonyms once."""
    found: list[Detected] = []
    characters = list(text)
    left = _found(text)
    for _ in range(MAX_PASSES):
        if not left:
            break
        found += left
        for one in left:
            characters[one.start : one.end] = MASK[0] * (one.end - one.start)
        text = "".join(characters)
        # what is covered already cannot be covered again
        left = [one for one in _found(text) if text[one.start : one.end].strip(MASK[0])]
    return found
