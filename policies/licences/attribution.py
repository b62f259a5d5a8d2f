"""Whose model an answer is from, and under which licence, in one line."""

from __future__ import annotations

from collections.abc import Sequence

from policies.facts import Ancestor
from policies.licences.papers import LicenceError, facts

__all__ = ["attribution"]

MAX_NAME = 80


def attribution(name: str, licence: str, lineage: Sequence[Ancestor]) -> str:
    """The name of the model, what it was made from, its licence, and where that stands; at most 400 characters.

    It names no author, since no fact of a model does: the notices themselves stand in the bundle.
    """
    named = _printable(name)
    if lineage:
        named = f"{named}, made from {_printable(lineage[0].name)}"
    try:
        known = facts(licence)
    except LicenceError:
        return f"{named}; licence: {_printable(licence)}"
    return f"{named}; licence: {known.spdx}, {known.sources['attribution'].url}"


def _printable(name: str) -> str:
    """A name comes with a model, from anywhere: no line of it may end, and none may run on."""
    name = name[:MAX_NAME]
    return name if name.isprintable() else "".join(one if one.isprintable() else "\ufffd" for one in name)
