"""The evidence behind a report: what the signed heads count, and the same counted again from the opened records.

Only what stands under a signed head counts. A record behind it may still be torn off by a power cut, and a box that
runs writes more while it is read; so both numbers are about the same leaves and can be compared.
"""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Iterable

from msgspec import Struct

from compliance.crypto import sha256
from compliance.journal.reader import Record
from compliance.report.recount import Recount, Recounting, Shard, ranked
from compliance.verify.journal import Verified
from compliance.verify.statements import Head

__all__ = ["Evidence", "collect"]


class Evidence(Struct, frozen=True, kw_only=True):
    """All that a report is made of. `digest` is the SHA-256 over the texts of the heads, in the order of the shards.

    `allowed`, `refused` and `rules` are the sums of the signed counters, `records` that of the heads' sizes; `unsealed`
    records stand behind the last head and count nowhere. `gaps` counts where a writer went on after a crash, `auditors`
    are the fingerprints of those to whom records were sealed. `given` and `witnessed` are those of Verified: whether a
    head from outside was compared, and what a witness has seen. `recount` is there with the auditor's key only.
    """

    journal: str
    digest: str
    shards: tuple[Shard, ...]
    records: int
    allowed: int
    refused: int
    rules: dict[str, int]
    unfinished: int
    unsealed: int
    gaps: int
    auditors: tuple[str, ...]
    given: bool
    witnessed: tuple[int, int] | None
    recount: Recount | None


def collect(verified: Verified, records: Iterable[Record] | None) -> Evidence:
    """The evidence in a journal that was verified, and in its opened records where there is the auditor's key.

    Takes one pass over the records and keeps counts only. Raises ReportError when the records, counted again, do not
    give the numbers that were signed.
    """
    heads = dict(sorted(verified.heads.items()))
    shards = tuple(_shard(name, head) for name, head in heads.items())
    recount = None if records is None else Recounting(shards).over(records)
    rules: Counter[str] = Counter()
    for shard in shards:
        rules.update(shard.rules)
    return Evidence(
        journal=verified.id,
        digest=sha256(*(head.text().encode() for head in heads.values())).hex(),
        shards=shards,
        records=sum(shard.size for shard in shards),
        allowed=sum(shard.allowed for shard in shards),
        refused=sum(shard.refused for shard in shards),
        rules=ranked(rules),
        unfinished=verified.unfinished if recount is None else recount.unfinished,
        unsealed=verified.unsealed,
        gaps=verified.gaps,
        auditors=tuple(sorted(verified.auditors)),
        given=verified.given,
        witnessed=verified.witnessed,
        recount=recount,
    )


def _shard(name: str, head: Head) -> Shard:
    return Shard(
        name=name,
        size=head.size,
        root=base64.b64encode(head.root).decode(),
        at=head.at,
        allowed=head.allowed,
        refused=head.refused,
        rules=dict(head.rules),
    )
