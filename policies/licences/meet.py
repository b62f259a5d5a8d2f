"""What several licences allow together: what something may be used for that was made from all of them.

The meet never grants what one of them refuses, what one leaves open stays open, and order does not matter. Where
licences cannot be kept at the same time for what is passed on, nothing is passed on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

from policies.licences.table import Derive, Facts

__all__ = ["expression", "meet", "members"]

MAX_MEMBERS = 32
_JOINED = " AND "
_ORDER: tuple[Derive, ...] = ("none", "local", "share")
_T = TypeVar("_T")


def members(licence: str) -> tuple[str, ...]:
    """The identifiers in an SPDX expression of licences that hold together ("A AND B")."""
    return tuple(dict.fromkeys(licence.split(_JOINED)))


def expression(licences: Iterable[str]) -> str:
    """The SPDX expression of licences that hold together, each once and in order."""
    return _JOINED.join(sorted({one for licence in licences for one in members(licence)}))


def meet(licences: Mapping[str, Facts]) -> Facts:
    """The facts of what was made from something under each of these licences, by their identifiers; at least one."""
    found = list(licences.values())
    return Facts(
        commercial=_granted([one.commercial for one in found]),
        derive=_derive(found),
        share_alike=_asked([one.share_alike for one in found]),
        attribution=_asked([one.attribution for one in found]),
        notice_file=_asked([one.notice_file for one in found]),
        notices=_all(one.notices for one in found),
        changes=_asked([one.changes for one in found]),
        prefixes=_all(one.prefixes for one in found),
        displays=_all(one.displays for one in found),
        limits=_asked([one.limits for one in found]),
        forbidden=_all(one.forbidden for one in found),
        pass_on=_asked([one.pass_on for one in found]),
        hosted=_asked([one.hosted for one in found]),
        no_hosting=_asked([one.no_hosting for one in found]),
        network=_asked([one.network for one in found]),
        research=_asked([one.research for one in found]),
        guardrails=_asked([one.guardrails for one in found]),
        territories=_all(one.territories for one in found),
        multimodal=_all(one.multimodal for one in found),
        users=min((one.users for one in found if one.users is not None), default=None),
        revenue=min((one.revenue for one in found if one.revenue is not None), default=None),
        revocable=_asked([one.revocable for one in found]),
    )


def _granted(values: Sequence[bool | None]) -> bool | None:
    """One refusal refuses; otherwise one that is unknown leaves it unknown."""
    if False in values:
        return False
    return None if None in values else True


def _asked(values: Sequence[bool | None]) -> bool | None:
    """One that asks for it asks for it."""
    if True in values:
        return True
    return None if None in values else False


def _derive(found: Sequence[Facts]) -> Derive | None:
    known = [one.derive for one in found if one.derive is not None]
    least = min(known, key=_ORDER.index, default=None)
    if len(known) < len(found):
        return "none" if least == "none" else None
    if least == "share" and not _passed_on(found):
        return "local"
    return least


def _passed_on(found: Sequence[Facts]) -> bool:
    """Whether a derivative can keep to all of them at once: terms that must stay the same go with no others that ask
    for more, and a name has one beginning."""
    alike = [one for one in found if one.share_alike is not False]
    # a copyleft beside a licence with limits of use, or beside another copyleft, cannot be kept by one copy
    strict = any(one.share_alike for one in found) and any(one.limits or one.commercial is not True for one in found)
    prefixes = {prefix for one in found for prefix in one.prefixes}
    return len(found) == 1 or not (
        (any(one.share_alike for one in found) and len(alike) > 1) or strict or not _nested(prefixes)
    )


def _nested(prefixes: set[str]) -> bool:
    longest = max(prefixes, key=len, default="")
    return all(longest.startswith(prefix) for prefix in prefixes)


def _all(values: Iterable[tuple[_T, ...]]) -> tuple[_T, ...]:
    return tuple(sorted({one for each in values for one in each}, key=str))
