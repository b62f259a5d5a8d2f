"""Read all leaves of evidence, shard by shard, and count what they say."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from compliance.verify.archive import Archive
from compliance.verify.counts import Counts
from compliance.verify.disclosed import Disclosed, Span
from compliance.verify.errors import NotVerified
from compliance.verify.leaf import Broken, record_name

__all__ = ["Recounted", "Sampled", "recounted"]


class Sampled(NamedTuple):
    """A leaf that the auditor's nonce chose, and the number of its kind: one to be looked at by a person."""

    record: str
    kind: int


class Recounted(NamedTuple):
    """What the leaves gave: counts by group and name, to whom they are sealed, crashes, and the sample."""

    counts: Mapping[str, Mapping[str, int]]
    auditors: tuple[str, ...]
    gaps: int
    sample: tuple[Sampled, ...]


def recounted(
    archive: Archive,
    spans: Sequence[Span],
    counts: Counts,
    chosen: Mapping[int, set[int]],
    progress: Callable[[int], None],
) -> Recounted:
    """Read all leaves of these spans, and count them. Raises NotVerified where they do not hold."""
    ciphertexts: set[bytes] = set()
    read: list[Disclosed] = []
    sample: list[Sampled] = []
    for span in spans:
        one = Disclosed(archive, span, counts, ciphertexts)
        read.append(one)
        sampled = one.check(chosen.get(span.last.shard, set()), progress)
        sample += (Sampled(record_name(span.last.shard, number), kind) for number, kind in sampled)
    _settle(read)
    counts.settle()
    records: Counter[str] = Counter()
    for one in read:
        records.update(one.kinds)
    gaps = sum(one.records.gaps for one in read)
    try:
        groups = counts.groups(records, sum(len(one.records.open) for one in read))
        counts.compare(((span.first, span.last) for span in spans), gaps)
    except Broken as broken:
        raise NotVerified.at("evidence.json", broken.code) from None
    auditors = sorted(set().union(*(one.records.auditors for one in read)))
    return Recounted(groups, tuple(auditors), gaps, tuple(sample))


def _settle(read: Sequence[Disclosed]) -> None:
    """The calls that ended in another shard than they began in."""
    for one in read:
        for sequence, of_shard, of_sequence in one.records.elsewhere:
            of = read[of_shard].records if of_shard < len(read) else None
            if of is not None and of_sequence in of.open:
                of.open.remove(of_sequence)
            elif of is not None and of_sequence < of.start and of_sequence not in of.earlier:
                of.earlier.add(of_sequence)
            else:
                raise NotVerified.at(record_name(one.records.number, sequence), "record_of")
