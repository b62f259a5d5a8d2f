"""What somebody could read who had certain keys for a time (GDPR Art. 33(3)): the facts for a notice of a breach.

Reading a record takes the auditor's private key and the salt of its row (docs/threat-model.md). Who holds both reads
all that was ever recorded and not erased by then, not only what was recorded meanwhile; who holds the auditor's key
alone reads what was released to that auditor; and the salts alone open nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Set

from msgspec import Struct

from compliance.journal.reader import Located, Source, Walk
from compliance.journal.records import Noted, Opened, Sealed

__all__ = ["Readable", "readable"]


class Readable(Struct, frozen=True, kw_only=True):
    """Counts of records. `subjects` are pseudonyms, of which a person has one for each month and purpose.

    `unreadable` are records written by then that nobody can open now. How many rows of salts were erased before the
    time and since it began is known, and not which records these were: with none since, nothing of `unreadable` could
    be read. `other_auditor` are sealed to others only, whose keys are not those that are looked at.
    """

    records: int
    calls: int
    payloads: int
    subjects: tuple[str, ...]
    models: dict[str, int]
    purposes: dict[str, int]
    data: dict[str, int]
    tenants: dict[str, int]
    unreadable: int
    erased_before: int
    erased_since: int
    other_auditor: int


def readable(walk: Walk, source: Source, *, auditor: bool, salts: bool, since: int, until: int) -> Readable:
    """What the keys opened at any time from `since` until before `until` (ns): the key of the auditor of this walk, and
    the salts of the box. Raises NotReadable, StateError."""
    counts = {name: Counter[str]() for name in ("models", "purposes", "data", "tenants")}
    subjects: set[str] = set()
    plain: Counter[str] = Counter()
    opens = None if salts else _released(walk, source, until)
    for located, sealed in _written(walk, source, until):
        if not isinstance(sealed, Sealed):
            plain[sealed] += 1
            continue
        metadata = sealed.metadata()
        if isinstance(metadata, Noted) and metadata.kind in ("erased", "retained"):
            plain["before" if metadata.at < since else "since"] += int(metadata.data.get("rows", 0))
        if not auditor or (opens is not None and located.name not in opens):
            continue
        plain["records"] += 1
        plain["payloads"] += bool(sealed.payload)
        if isinstance(metadata, Opened):
            call = metadata.call
            plain["calls"] += 1
            counts["models"][f"{metadata.model.get('name', '')} ({call.model[:16]})"] += 1
            counts["purposes"][call.purpose or ""] += 1
            counts["tenants"][call.tenant] += 1
            counts["data"].update(call.data | call.detected)
            subjects |= {call.subject} if call.subject else set()
    return Readable(
        records=plain["records"],
        calls=plain["calls"],
        payloads=plain["payloads"],
        subjects=tuple(sorted(subjects)),
        unreadable=plain["erased"],
        erased_before=plain["before"],
        erased_since=plain["since"],
        other_auditor=plain["other_auditor"],
        **{name: dict(sorted(found.items())) for name, found in counts.items()},
    )


def _written(walk: Walk, source: Source, until: int) -> Iterator[tuple[Located, Sealed | str]]:
    """The records from before a time. One that does not open has that of the record before it."""
    shard, late = -1, False
    for located in walk:
        if located.leaf.shard != shard:
            shard, late = located.leaf.shard, False
        sealed = located.unsealed(source)
        if isinstance(sealed, Sealed):
            metadata = sealed.metadata()
            late = (metadata.call.at if isinstance(metadata, Opened) else metadata.at) >= until
        if not late:
            yield located, sealed


def _released(walk: Walk, source: Source, until: int) -> Set[str]:
    """The records that were released to the auditor of this walk before a time."""
    found = set()
    for _, sealed in _written(walk, source, until):
        metadata = sealed.metadata() if isinstance(sealed, Sealed) else None
        if isinstance(metadata, Noted) and metadata.kind == "released" and metadata.data["auditor"] == walk.auditor:
            found.add(str(metadata.data["record"]))
    return found
