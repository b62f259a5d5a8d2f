"""What a model was made from, and what follows for it: the meet over all ancestors, data included.

An ancestor whose licence nobody knows is entered as UNKNOWN, which is in no table. What was made from it is unknown
then, and what is unknown allows nothing.
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import UNSET, UnsetType

from policies.facts import Ancestor
from policies.licences.meet import expression, members
from policies.licences.papers import LicenceError
from policies.licences.table import Digest

__all__ = ["UNKNOWN", "Forebear", "licence_of", "must_be_covered", "must_be_known"]

UNKNOWN = "LicenseRef-unknown"
_DATA = ("calibration", "training")


class Forebear(Ancestor, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An ancestor as a bundle tells of it. `digest` is empty where its bytes were not seen; `text` is the digest over
    the words of its licence text (policies.licences.digest), which stands in the bundle's LICENSE file; without it in
    bundles of earlier releases, and for what is one's own."""

    text: Digest | UnsetType = UNSET


def licence_of(lineage: Iterable[Ancestor]) -> str:
    """The SPDX expression of what was made from all of these, in whichever order."""
    return expression(one.licence for one in lineage)


def must_be_known(lineage: Iterable[Ancestor]) -> None:
    """Return where the licence of each ancestor was stated or read.

    Raises LicenceError: licence_data for data, licence_ancestor for a model.
    """
    for one in lineage:
        if one.licence != UNKNOWN:
            continue
        if one.relation in _DATA:
            raise LicenceError("licence_data", f"nobody said under which licence the data {one.name[:80]!r} is")
        raise LicenceError("licence_ancestor", f"it was made from {one.name[:200]!r}, whose licence is not known")


def must_be_covered(licence: str, lineage: Iterable[Ancestor]) -> None:
    """Return where the licence of a model takes in those of all ancestors. Raises LicenceError: licence_left_out."""
    left = {spdx for one in lineage for spdx in members(one.licence)} - {*members(licence)}
    if left:
        raise LicenceError("licence_left_out", f"{licence[:200]} leaves out {', '.join(sorted(left))[:200]}")
