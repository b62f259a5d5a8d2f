"""Which leaves a period becomes: those between two joint heads around it, shard by shard."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from compliance.crypto import Unauthentic
from compliance.evidence.errors import EvidenceError
from compliance.verify.errors import NotVerified
from compliance.verify.leaf import Broken, shard_name
from compliance.verify.note import Note, notes
from compliance.verify.statements import Head, JointHead

__all__ = ["Bounds", "Cut", "bounds"]


class Cut(NamedTuple):
    """The leaves of a shard under `last` that are not under `first`, with the notes of both heads as they stand."""

    first: Head
    last: Head
    notes: tuple[str, str]


class Bounds(NamedTuple):
    """The two joint heads, as notes, and what is between them. `since` and `until` (ns) are within their times."""

    since: int
    until: int
    first: str
    last: str
    cuts: tuple[Cut, ...]

    @property
    def records(self) -> int:
        return sum(cut.last.size - cut.first.size for cut in self.cuts)

    @property
    def log_bytes(self) -> int:
        return sum(cut.last.size_bytes - cut.first.size_bytes for cut in self.cuts)


def bounds(directory: Path, since: int | None, until: int | None) -> Bounds:
    """The bounds of a period in a journal that was verified: from the last joint head before `since` to the first from
    `until` on, and there to one that a witness has co-signed, if there is one. A period is cut to what is signed.

    Raises EvidenceError: evidence_empty; NotVerified.
    """
    first: tuple[JointHead, str] | None = None
    last: tuple[JointHead, str] | None = None
    begins = None
    for joint, text in _joints(directory / "journal.heads"):
        begins = joint.at if begins is None else begins
        if first is None or (since is not None and joint.at <= since):
            first = joint, text
        if last is None or until is None or last[0].at < until:
            last = joint, text
    if first is None or last is None or begins is None:
        raise NotVerified.at("journal.heads", "joint_missing")
    seen = [
        (joint, text)
        for joint, text in _joints(directory / "witnessed.notes")
        if joint.at >= (last[0].at if until is None else min(until, last[0].at))
    ]
    if seen:
        last = seen[0]
    found_since = max(begins, first[0].at, 0 if since is None else since)
    found_until = last[0].at if until is None else min(until, last[0].at)
    if found_since > found_until or not first[0].grows_to(last[0]):
        raise EvidenceError("evidence_empty", "no signed head lies behind the beginning of the period")
    cuts = tuple(_cut(directory, number, first[0], line) for number, line in enumerate(last[0].shards))
    return Bounds(found_since, found_until, first[1], last[1], cuts)


def _joints(path: Path) -> Iterator[tuple[JointHead, str]]:
    with suppress(FileNotFoundError, Broken):
        for text, _ in notes(path, "joint_truncated", "joint_signature"):
            with suppress(Unauthentic, ValueError):
                yield JointHead.parsed(Note.parsed(text).text), text


def _cut(directory: Path, number: int, first: JointHead, line: tuple[int, bytes]) -> Cut:
    """The heads of a shard that the joint heads were made of. Raises NotVerified: head_missing."""
    size = first.shards[number][0] if number < len(first.shards) else 0
    found: dict[int, tuple[Head, str]] = {}
    with suppress(FileNotFoundError, Broken):
        for text, _ in notes(directory / f"{shard_name(number)}.heads", "head_truncated", "head_signature"):
            head = Head.parsed(Note.parsed(text).text)
            if head.size in (size, line[0]):
                found[head.size] = head, text
    if not {size, line[0]} <= found.keys():
        raise NotVerified.at(shard_name(number), "head_missing")
    (one, before), (other, after) = found[size], found[line[0]]
    return Cut(one, other, (before, after))
