"""Whose model an answer is from, and under which licence, in one line."""

from __future__ import annotations

from policies.licences.papers import LicenceError, facts

__all__ = ["attribution"]

MAX_NAME = 80


def attribution(name: str, parent: str | None, licence: str) -> str:
    """The name of a model, what it was made from, its licence, and where that stands; at most 400 characters.

    It names no author, since no fact of a model does: the notices themselves stand in the bundle.
    """
    named = _printable(name) if parent is None else f"{_printable(name)}, made from {_printable(parent)}"
    try:
        known = facts(licence)
    except LicenceError:
        return f"{named}; licence: {_printable(licence)}"
    return f"{named}; licence: {known.spdx}, {known.sources['attribution'].url}"


def _printable(name: str) -> str:
    """A name comes with a model, from anywhere: no line of it may end, and none may run on."""
    return "".join(one if one.isprintable() else "\ufffd" for one in name[:MAX_NAME])
