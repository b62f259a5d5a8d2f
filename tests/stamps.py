"""Tokens of time as they are kept beside a journal that was forged, and a journal that tells of one.

period = stamped(folder)          # a journal that tells of `told_of(period)`
one = kept(note)                  # a token over a joint head by AUTHORITY, an hour behind it
one = kept(note, nonce=7)         # with a field of Kept that does not fit the token
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from compliance.verify.note import Note
from compliance.verify.statements import JointHead
from compliance.verify.timestamp import Kept, imprint
from tests.authorities import TimeAuthority
from tests.forge import SECOND, ForgedShard
from tests.periods import Period, claims_of, with_claims

__all__ = ["AUTHORITY", "HOUR", "NONCE", "added", "kept", "stamped", "told_of"]

NONCE = 0x5EA1
HOUR = 3600 * SECOND
AUTHORITY = TimeAuthority()


def kept(note: str, *, authority: TimeAuthority = AUTHORITY, after: int = HOUR, **changes: Any) -> Kept:
    """A token as it is kept; fields of Kept may be others, and what else is given goes to the authority."""
    first = Note.parsed(note).first()
    head = JointHead.parsed(first.text)
    fields: dict[str, Any] = {"note": first, "head": head, "nonce": NONCE}
    fields |= {name: changes.pop(name) for name in ("note", "head", "nonce", "token") if name in changes}
    if "token" not in fields:
        fields["token"] = authority.token(imprint(first), NONCE, head.at + after, **changes)
    return Kept(**fields)


def added(parts: dict[str, bytes], one: Kept) -> dict[str, bytes]:
    """Evidence with a further token, which is listed in it."""
    place, claims = f"timestamps/{one.digest}.json", claims_of(parts)
    claims["papers"] = sorted({*claims["papers"], place})
    return with_claims(parts | {place: one.written()}, claims)


def stamped(folder: Path) -> Period:
    """A journal that tells of a token over a head within the period of its evidence."""

    def tells(shard: ForgedShard) -> None:
        # what holds of any forged journal: the head before this note is the first of the period
        one = kept(shard.forge.joints[-1])
        shard.noted("timestamped", {"token": one.digest, "head": imprint(one.note).hex(), "head_at": one.head.at})

    return Period.forged(folder, odd=tells)


def told_of(period: Period) -> Kept:
    """The token that the journal of such a period tells of."""
    within = period.forge.joints.index(period.kept["joint within"])
    return kept(period.forge.joints[within - 1])
