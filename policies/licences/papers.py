"""Which licence a source came under, read from its own papers.

A licence is accepted only where it is known: a text by its words, all of them and no others, and a statement by a
name of the licence. One changed word in a text can turn its meaning round, so nothing here works by likeness.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import ClassVar

from policies.errors import Refused
from policies.licences.meet import MAX_MEMBERS, expression, meet, members
from policies.licences.table import Entry, Facts, entries, entry, use_policies
from policies.licences.words import MAX_CHARACTERS, digest, words

__all__ = ["OWN", "LicenceError", "agreed", "facts", "identify", "identify_use_policy", "known", "spdx", "together"]

# what the one who presses a model made, and may do everything with
OWN = "LicenseRef-own"


class LicenceError(Refused):
    """Papers that are missing, unknown or in conflict."""

    hints: ClassVar[Mapping[str, str]] = {
        "licence_unknown": "`sealpress licence show` lists the licences that are known, each by its unaltered text or "
        "by its SPDX id. For another one, use a model under one of these, or have the licence added to the table.",
        "licence_missing": "Read the papers of the source yourself, then state what they say with --licence and the "
        "SPDX id, for example --licence Apache-2.0: the statement is signed into the bundle.",
        "licence_conflict": "Find out from the publisher which one holds. --licence fills a gap only: it cannot "
        "overrule the papers of the source.",
        "licence_expired": "Read the papers of the source again, and press the model again with --licence where they "
        "still name none: what somebody stated counts for a time only.",
        "licence_ancestor": "State its licence with --parent NAME=SPDX, or give its folder with --parent "
        "NAME=./FOLDER, whose papers are read then: what was made from something unknown may be used for nothing.",
        "licence_data": "State it with --data-licence and an SPDX id, or with --data-licence LicenseRef-own where "
        "the data is your own: the statement is signed into the bundle.",
        "licence_left_out": "Press the model again with this version: its licence has to cover all of its lineage.",
        "licence_texts": "Press the model again with this version, from a source with all of its papers: the texts go "
        "into the bundle. A text that is altered is none.",
        "licence_notices": "Press the model again with this version: it puts the notices that the licences ask for "
        "into the NOTICE file.",
        "licence_name": "Rename the folder of the source so that its name begins as the licence asks, and press it "
        "again: the name is signed into the bundle.",
    }


def known(licence: str) -> Entry:
    """The entry of the licence with this SPDX id. Raises LicenceError where it is not in the table."""
    found = entry(licence)
    if found is None:
        raise _unknown(licence)
    return found


def facts(licence: str) -> Facts:
    """What a licence says, by its SPDX id, or several together ("A AND B"). Raises LicenceError where one of them is
    not in the table."""
    ids = members(licence)
    if len(ids) > MAX_MEMBERS:
        raise _unknown(licence)
    return meet({spdx: _OWN if spdx == OWN else known(spdx).plain() for spdx in ids})


def together(licences: Sequence[str]) -> str:
    """The SPDX expression of what was made from something under each of these. Raises LicenceError where one of them is
    not in the table."""
    found = expression(licences)
    facts(found)
    return found


def spdx(statement: str) -> str:
    """The SPDX id that a statement names ("apache-2.0", "MIT License"). Raises LicenceError where it is not known."""
    # two plus signs make another licence of it (RAIL++), and are no word
    plain = statement.replace("++", " plusplus ") if len(statement) <= MAX_CHARACTERS else ""
    found = _names().get(" ".join(words(plain)))
    if found is None:
        raise _unknown(statement)
    return found


def identify(text: str) -> str | None:
    """The SPDX id of a licence text, or None where it is unknown or altered.

    Line breaks, punctuation, capitals, title and copyright lines are free, and so is Apache's appendix. Every other
    word counts, in every script: the MIT text with a clause added is not the MIT licence.
    """
    return _wordings().get(digest(text)) if len(text) <= MAX_CHARACTERS else None


def identify_use_policy(text: str) -> str | None:
    """The name of an acceptable-use policy by its text, as `identify` does; None where it is unknown or altered."""
    if len(text) > MAX_CHARACTERS:
        return None
    found = digest(text)
    return next((name for name, one in use_policies().items() if found in one.wordings), None)


def agreed(stated: str | None, papers: Sequence[str]) -> str:
    """The SPDX id of the licence that a source came under.

    `papers` holds what the source's own papers name, as ids or statements; `stated`, what the person says who brings
    the source in. Raises LicenceError where a name is unknown, where two disagree, or where nothing is named.
    """
    named = {spdx(paper) for paper in papers}
    if OWN in named:
        # that something is one's own is for oneself to say, not for what comes from elsewhere
        raise _unknown(OWN)
    if len(named) > 1:
        raise LicenceError("licence_conflict", f"the papers name {' and '.join(sorted(named))}")
    if stated is not None:
        named.add(spdx(stated))
    if len(named) > 1:
        raise LicenceError(
            "licence_conflict", f"stated is {stated}, the papers of the source say otherwise: {papers[0]}"
        )
    if not named:
        raise LicenceError("licence_missing", "no licence was found in the papers of the source")
    return named.pop()


def _unknown(statement: str) -> LicenceError:
    return LicenceError("licence_unknown", f"{statement[:80]!r} is not a licence in the table")


_OWN = Facts(
    commercial=True, derive="share", share_alike=False, attribution=False, notice_file=False, changes=False,
    limits=False, pass_on=False, hosted=False, no_hosting=False, network=False, research=False, guardrails=False,
    revocable=False,
)  # fmt: skip


@cache
def _names() -> Mapping[str, str]:
    """By its words, every name of a licence."""
    found = {" ".join(words(OWN)): OWN}
    for spdx, one in entries().items():
        found |= dict.fromkeys((*one.names, " ".join(words(spdx))), spdx)
    return found


@cache
def _wordings() -> Mapping[str, str]:
    return {wording: spdx for spdx, one in entries().items() for wording in one.wordings}
