"""Check a whole journal with public keys only: framing, order, the tree against every signed head, the genesis note."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from compliance.crypto import Unauthentic
from compliance.verify.note import Head, opened
from compliance.verify.shard import MAX_FAILURES, CheckedShard, Failure
from policies.errors import Refused

__all__ = ["Failure", "NotVerified", "Verified", "genesis", "shards", "verify_journal"]

GENESIS = "journal.note"
MAX_NOTE = 65_536


class NotVerified(Refused):
    """A journal that does not hold. `failures` names each place and its reason; `records` counts what was read."""

    hints: ClassVar[Mapping[str, str]] = {
        "journal_not_verified": "Change nothing, copy the journal, and compare it with a backup or a head you hold.",
        "record_check": "The bytes of this record are not those that were written: altered, or a failing disk.",
        "record_length": "The length of this record is impossible: altered, or a failing disk.",
        "record_truncated": "The log ends inside this record: cut, or not yet repaired after a crash.",
        "record_malformed": "The record is intact but is no leaf: it was not written by sealpress.",
        "record_format": "The record has another format than this version reads.",
        "record_sequence": "The record does not stand where it says: dropped, swapped or inserted records.",
        "record_of": "The record belongs to a call that does not stand where it says.",
        "head_root": "The records up to this head are not those that were signed: history was rewritten.",
        "head_signature": "The head was altered, or signed with another key.",
        "head_truncated": "The file of heads ends inside a head: cut, or not yet repaired after a crash.",
        "head_order": "The heads do not grow in size and time: a file was put together from parts.",
        "head_origin": "The head belongs to another journal or shard.",
        "head_counters": "The head counts other calls than the records show.",
        "head_missing": "There are records but no signed head: the file of heads was removed.",
        "record_missing": "The last head counts more records than there are: the log was cut.",
        "genesis_missing": "journal.note is missing: this is no journal, or its first page was removed.",
        "genesis_signature": "journal.note was altered, or signed with another key.",
        "shard_missing": "The log of this shard is missing, though its heads or later shards are here: it was removed.",
    }

    def __init__(self, failures: list[Failure], records: int) -> None:
        super().__init__("journal_not_verified", f"{len(failures)} failures, the first at {failures[0].record}")
        self.failures = failures
        self.records = records


@dataclass
class Verified:
    """What a journal that holds says in public. `unsealed` records stand behind the last head, not yet signed."""

    records: int = 0
    allowed: int = 0
    refused: int = 0
    unfinished: int = 0
    unsealed: int = 0
    heads: dict[str, Head] = field(default_factory=dict)


def verify_journal(directory: Path, public: bytes) -> Verified:
    """Check a journal directory against the public key of its signer (32 bytes, from outside the journal).

    Raises NotVerified with the failures that were found, 1,000 at most. It cannot show that a shard was rolled back
    to an earlier state together with its heads: for that, keep a head outside the box. The journal may be written to
    meanwhile: what comes after a shard was looked at belongs to the next verification.
    """
    try:
        journal = genesis(directory, public)
    except FileNotFoundError:
        raise NotVerified([Failure(GENESIS, "genesis_missing")], 0) from None
    except Unauthentic:
        raise NotVerified([Failure(GENESIS, "genesis_signature")], 0) from None
    names = shards(directory)
    # shards are taken in order, so a number that is left out is a log that was removed
    count = int(names[-1].removeprefix("shard-")) + 1 if names else 0
    checked = [CheckedShard(directory, number, journal, public) for number in range(count)]
    records = sum(shard.tree.size for shard in checked)
    failures = [failure for shard in checked for failure in shard.failures] or _settled(checked)
    if failures:
        raise NotVerified(failures[:MAX_FAILURES], records)
    heads = {shard.name: shard.last for shard in checked if shard.last is not None}
    return Verified(
        records=records,
        allowed=sum(shard.allowed for shard in checked),
        refused=sum(shard.refused for shard in checked),
        unfinished=sum(len(shard.unfinished) for shard in checked),
        unsealed=records - sum(head.size for head in heads.values()),
        heads=heads,
    )


def genesis(directory: Path, public: bytes) -> str:
    """The identity of a journal from its signed first page. Raises FileNotFoundError, Unauthentic."""
    path = directory / GENESIS
    if not path.is_file():
        raise FileNotFoundError(str(path))
    with path.open("rb") as file:
        text = opened(file.read(MAX_NOTE).decode(errors="replace"), public)
    # heads are signed with the same key
    if not _FIRST_PAGE.fullmatch(text):
        raise Unauthentic("signature", "this is not the first page of a journal")
    return text.split("\n", 1)[0]


def shards(directory: Path) -> list[str]:
    """The names of the shards, from their logs and from heads whose log is gone."""
    return sorted({path.stem for path in directory.iterdir() if _SHARD.fullmatch(path.name)})


def _settled(checked: list[CheckedShard]) -> list[Failure]:
    """Settle the calls that ended in another shard than they began in (a process forked); returns what fits nowhere."""
    failures = []
    for shard in checked:
        for record, number, sequence in shard.elsewhere:
            if number >= len(checked) or sequence >= checked[number].tree.size:
                failures.append(Failure(record, "record_of"))
            else:
                checked[number].unfinished.discard(sequence)
    return failures


_FIRST_PAGE = re.compile(r"sealpress\.journal/[0-9a-f]{32}\nmade [0-9T:+-]+\n")
_SHARD = re.compile(r"shard-[0-9]{3}\.(log|heads)")
