"""Whose model an answer is from, and under which licence, in one line."""

from __future__ import annotations

from policies.licences.meet import members
from policies.licences.papers import LicenceError, facts
from policies.licences.table import entry

__all__ = ["attribution"]

MAX_NAME = 80
MAX_TERMS = 200


def attribution(name: str, parent: str | None, licence: str) -> str:
    """The name of a model, what it was made from, its licence, and where that stands; at most 400 characters.

    It names no author, since no fact of a model does: the notices themselves stand in the bundle.
    """
    named = _printable(name) if parent is None else f"{_printable(name)}, made from {_printable(parent)}"
    try:
        known = facts(licence)
    except LicenceError:
        return f"{named}; licence: {_printable(licence)}"
    found = [one for spdx in members(licence) if (one := entry(spdx)) is not None]
    terms = [licence, *(one.url for one in found), *known.displays]
    # addresses and words to show are told as far as there is room: the texts stand in the bundle
    while len(", ".join(terms)) > MAX_TERMS and len(terms) > 1:
        terms.pop(1)
    return f"{named}; licence: {', '.join(terms)[:MAX_TERMS]}"


def _printable(name: str) -> str:
    """A name comes with a model, from anywhere: no line of it may end, and none may run on."""
    return "".join(one if one.isprintable() else "\ufffd" for one in name[:MAX_NAME])
