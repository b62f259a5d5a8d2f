"""What is said of evidence that holds, in words and as JSON: by `sealpress audit verify` and by the verifier alone."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from compliance.crypto import sha256
from compliance.verify.evidence import VerifiedEvidence
from compliance.verify.leaf import ALLOWED, CLOSED, NOTED, REFUSED

__all__ = ["said", "value_of"]

_KINDS = {ALLOWED: "allowed", REFUSED: "refused", NOTED: "noted", CLOSED: "closed"}


def value_of(found: VerifiedEvidence) -> dict[str, Any]:
    """Times are in nanoseconds since 1970, the time of a witness is in seconds."""
    return {
        "journal": found.genesis.id,
        "root": sha256(found.genesis.root).hex(),
        "since": found.claimed.since,
        "until": found.claimed.until,
        "heads": [found.first.at, found.last.at],
        "shards": [{"shard": span.name, "since": span.first.size, "until": span.last.size} for span in found.spans],
        "counts": {group: dict(counts) for group, counts in found.counts.items()},
        "auditors": list(found.auditors),
        "gaps": found.gaps,
        "unsigned": found.unsigned,
        "sample": [{"record": one.record, "kind": _KINDS.get(one.kind, "public")} for one in found.sample],
        "head": found.given,
        "witness": None if found.witnessed is None else dict(zip(("records", "at"), found.witnessed, strict=True)),
        "timestamps": [
            {"head_at": one.head_at, "at": one.at, "authority": one.authority, "token": one.token, "chain": one.chained}
            for one in found.timestamps
        ],
        "witnessed": found.given or found.witnessed is not None,
    }


def said(found: VerifiedEvidence) -> str:
    """Lines for a person."""
    records, calls, unread = found.counts["records"], found.counts["calls"], found.counts["unread"]
    lines = [
        f"Verified {sum(records.values()):,} records of journal {found.genesis.id},",
        f"from {_moment(found.claimed.since)} to {_moment(found.claimed.until)}.",
        f"{records.get('allowed', 0):,} calls allowed, {records.get('refused', 0):,} refused; "
        f"{calls.get('done', 0):,} ended well, {calls.get('failed', 0):,} failed, "
        f"{calls.get('unfinished', 0):,} have no outcome. Every number was counted again.",
    ]
    if unread:
        what = ", ".join(f"{count:,} {name}" for name, count in sorted(unread.items()))
        lines.append(f"Not opened, as whoever made this says: {what}.")
    if "unbound" in calls:
        lines.append(f"{calls['unbound']:,} calls were answered by a model whose papers are not in the evidence.")
    if found.unsigned:
        lines.append(
            f"{found.unsigned:,} grants, overrides or declarations are told of whose signed files are not here."
        )
    if found.gaps:
        lines.append(f"{found.gaps:,} times the journal was found torn after a crash and went on.")
    if found.sample:
        names = ", ".join(f"{one.record} ({_KINDS.get(one.kind, 'public')})" for one in found.sample)
        lines.append(f"Sample by your nonce, each proved once more by itself: {names}.")
    if found.given:
        lines.append("The head you hold is one of the same history.")
    if found.witnessed is not None:
        count, seconds = found.witnessed
        lines.append(f"The witness saw {count:,} records, at {_moment(seconds * 10**9)}.")
    for one in found.timestamps:
        chain = "" if one.chained else "; its chain was not checked, since you gave no root (--tsa-root)"
        moments = f"the head of {_moment(one.head_at)} at {_moment(one.at)}"
        lines.append(f"The authority {one.authority[:200]} stamped {moments}{chain}.")
    if not found.given and found.witnessed is None:
        lines.append("Unwitnessed: no head from outside was compared, so that all of it may have been written anew.")
    return "\n".join(lines)


def _moment(at: int) -> str:
    return datetime.fromtimestamp(at // 10**9, UTC).isoformat(" ", "seconds")
