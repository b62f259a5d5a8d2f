"""What leads from the leaves of a period to what stands before and behind it, in one pass over each log."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from compliance.crypto import Unauthentic
from compliance.evidence.errors import EvidenceError
from compliance.evidence.period import Bounds, Cut
from compliance.journal.reader import Located
from compliance.journal.records import Sealed
from compliance.verify.claims import Earlier
from compliance.verify.leaf import frames, shard_name
from compliance.verify.merkle import Nodes, Tree, consistency_path, inclusion_path, peaks
from compliance.verify.note import Note, regular
from compliance.verify.statements import Head, JointHead, head_parsed

__all__ = ["Proved", "held", "prove"]


class Proved(NamedTuple):
    """By shard the peaks at its beginning, the earlier notes with their paths, and proofs to the auditor's heads by
    their shard and size."""

    peaks: dict[int, tuple[bytes, ...]]
    earlier: tuple[Earlier, ...]
    consistency: dict[tuple[int, int], tuple[bytes, ...]]


class _Paths(NamedTuple):
    """The same of one shard."""

    peaks: list[bytes]
    inclusion: list[list[bytes]]
    consistency: list[list[bytes]]


def held(text: str, journal: str) -> Head | JointHead:
    """A head that an auditor holds; its verifier looks at the signature. Raises EvidenceError: evidence_head."""
    try:
        head = head_parsed(Note.parsed(text).text)
        if head.id != journal:
            raise ValueError("of another journal")
    except (Unauthentic, ValueError):
        raise EvidenceError("evidence_head", "this is no head of this journal") from None
    return head


def prove(
    directory: Path, bounds: Bounds, earlier: Sequence[tuple[Located, Sealed]], heads: Sequence[Head | JointHead]
) -> Proved:
    """Raises EvidenceError: evidence_head, where a head counts more records than there are."""
    found = Proved({}, (), {})
    notes: list[Earlier] = []
    for cut in bounds.cuts:
        shard = cut.last.shard
        before = [one for one in earlier if one[0].leaf.shard == shard]
        sizes = {head.by_shard().get(shard, (0, b""))[0] for head in heads}
        outside = sorted(size for size in sizes if not cut.first.size <= size <= cut.last.size)
        making = partial(_paths, cut, [one.leaf.sequence for one, _ in before], outside)
        paths = _from_log(directory / f"{shard_name(shard)}.log", making)
        found.peaks[shard] = tuple(paths.peaks)
        for size, path in zip(outside, paths.consistency, strict=True):
            found.consistency[shard, size] = tuple(path)
        for (one, sealed), path in zip(before, paths.inclusion, strict=True):
            notes.append(Earlier(*one.place, one.body, sealed.opening, sealed.metadata_json, tuple(path)))
    return found._replace(earlier=tuple(notes))


def _paths(cut: Cut, before: Sequence[int], outside: Sequence[int], node: Nodes) -> _Paths:
    since, until = cut.first.size, cut.last.size
    return _Paths(
        [node(level, index) for level, index in peaks(0, since)],
        [inclusion_path(sequence, since, node) for sequence in before],
        [consistency_path(*((size, since) if size < since else (until, size)), node) for size in outside],
    )


def _from_log(path: Path, making: Callable[[Nodes], _Paths]) -> _Paths:
    """What is made of nodes of the tree, which are hashed out of the log."""
    wanted: dict[int, set[int]] = {}  # the leaf that completes a node, and the levels of the nodes wanted of it
    kept: dict[tuple[int, int], bytes] = {}

    def want(level: int, index: int) -> bytes:
        wanted.setdefault(((index + 1) << level) - 1, set()).add(level)
        return b""

    found = making(want)
    if not wanted:
        return found
    end, tree = max(wanted), Tree()
    with regular(path) as log:
        size = log.seek(0, 2)
        log.seek(0)
        for number, (_, leaf, _) in enumerate(frames(log.read, size)):
            made = tree.append(leaf)
            for level in wanted.get(number, ()):
                kept[level, number >> level] = made[level]
            if number == end:
                return making(lambda level, index: kept[level, index])
    raise EvidenceError("evidence_head", "the head counts more records than the journal has")
