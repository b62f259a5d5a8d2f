"""Check the leaves of one shard in evidence: from a signed head to a later one, with what was opened of each."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Protocol

from compliance.crypto import Unauthentic
from compliance.verify.archive import Archive, Part
from compliance.verify.counts import Counts
from compliance.verify.errors import NotVerified
from compliance.verify.leaf import (
    ALLOWED,
    CLOSED,
    EPOCH,
    GAP,
    NOTED,
    REFUSED,
    SEALED,
    Broken,
    frames,
    record_name,
    shard_name,
)
from compliance.verify.merkle import Tree, check_inclusion, inclusion_path, peaks
from compliance.verify.records import BATCH, Records
from compliance.verify.statements import Head

__all__ = ["MAX_OPENED", "UNREAD", "Disclosed", "Span", "openings"]

UNREAD = ("erased", "other_auditor", "not_released")  # what stands for no opening, by its number
MAX_OPENED = 96_000_000
_OPENING = 32
_KINDS: Mapping[int, str] = {
    EPOCH: "epoch", ALLOWED: "allowed", REFUSED: "refused", NOTED: "noted", CLOSED: "closed", GAP: "gap"
}  # fmt: skip
_COMMITMENT = slice(42, 74)  # where the commitment to the metadata stands in a body
_LENGTH = struct.Struct(">I")
_CHUNK = 128_000


@dataclass(frozen=True)
class Span:
    """The leaves of a shard in evidence: those under `last` that were not under `first`. `peaks` make up the tree of
    those before; `marks` are roots that the tree must have at some sizes, each with where that is said and the code of
    its failure."""

    first: Head
    last: Head
    peaks: tuple[bytes, ...]
    marks: dict[int, list[tuple[bytes, str, str]]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return shard_name(self.last.shard)


class Disclosed:
    """One pass over the leaves of a span, which goes into `counts`.

    Raises NotVerified: head_root where the peaks are not those of the first head.
    """

    def __init__(self, archive: Archive, span: Span, counts: Counts, ciphertexts: set[bytes]) -> None:
        self.span = span
        self._kinds = [0] * 256
        self._archive = archive
        self._counts = counts
        tree = Tree(span.first.size, span.peaks)
        if len(span.peaks) != span.first.size.bit_count() or tree.root() != span.first.root:
            raise NotVerified.at(span.name, "head_root")
        self.records = Records(span.last.shard, ciphertexts, tree)
        self.records.latest = span.first.at

    def check(self, sample: set[int], progress: Callable[[int], None]) -> list[tuple[int, int]]:
        """Read the span to its end, then show of the leaves of a sample once more that they stand under the last head,
        by their inclusion proofs. Returns the number and the kind of each of these. Raises NotVerified.
        """
        nodes = _Nodes(self.span, sample)
        try:
            name = self.span.name
            with self._archive.open(f"{name}.log") as log, self._archive.open(f"{name}.opened") as opened:
                self._read(log, openings(opened), nodes, progress)
        except Broken as broken:
            raise NotVerified.at(record_name(self.records.number, self.records.count), broken.code) from None
        except OSError:
            raise NotVerified.at(self.span.name, "evidence_malformed") from None
        self._compare()
        return nodes.proved()

    def _read(self, log: Part, opened: Iterator[bytes], nodes: _Nodes, progress: Callable[[int], None]) -> None:
        """Raises Broken, NotVerified."""
        records, tree, marks, start = self.records, self.records.tree, self.span.marks, self.span.first.size
        if start in marks:
            _compare(marks[start], self.span.first.root)
        # the leaves after which the tree must be up to date; in between it grows by many at once
        stops = sorted(nodes.completed.keys() | {size - 1 for size in marks}, reverse=True)
        stop, leaves, take, count = start, [], records.take, self._take
        for number, (body, leaf, _) in enumerate(
            frames(log.read, self._archive.size(f"{self.span.name}.log"), progress), start
        ):
            if number == start:
                records.begin(body)
            kind, of = take(body)
            count(kind, of, number, body, opened)
            records.count += 1
            leaves.append(leaf)
            if number < stop:
                continue
            tree.extend(leaves[:-1])
            made = tree.append(leaf)
            leaves.clear()
            if number in nodes.completed:
                nodes.take(number, made, kind)
            if number + 1 in marks:
                _compare(marks[number + 1], tree.root())
            while stops and stops[-1] <= number:
                stops.pop()
            stop = min((number + BATCH, *stops[-1:]))
        tree.extend(leaves)
        if next(opened, None) is not None:
            raise Broken("evidence_malformed")

    def _take(self, kind: int, of: tuple[int, int], number: int, body: bytes, opened: Iterator[bytes]) -> None:
        """Compare what was opened of a leaf with what its box committed to, and count it. Raises Broken."""
        self._kinds[kind] += 1
        if kind not in SEALED:
            return
        piece = next(opened, None)
        if piece is None:
            raise Broken("evidence_malformed")
        if len(piece) == 1:
            self._counts.unread(_KINDS[kind], UNREAD[piece[0]])
            return
        if sha256(b"\x02" + piece).digest() != body[_COMMITMENT]:
            raise Broken("evidence_opening")
        if kind == CLOSED:
            self._counts.closed(self.records.number, number, of, piece[_OPENING:])
        elif kind == NOTED:
            self._counts.noted(piece[_OPENING:])
        else:
            self._counts.opened(self.records.number, number, kind, piece[_OPENING:])

    @property
    def kinds(self) -> dict[str, int]:
        """How many leaves of each kind were read."""
        found = dict.fromkeys((*_KINDS.values(), "other"), 0)
        for kind, count in enumerate(self._kinds):
            found[_KINDS.get(kind, "other")] += count
        return found

    def _compare(self) -> None:
        """Compare the leaves with the heads at both ends. Raises NotVerified."""
        first, last, records = self.span.first, self.span.last, self.records
        if records.count < last.size:
            raise NotVerified.at(record_name(records.number, records.count), "record_missing")
        if records.count > last.size or records.tree.root() != last.root:
            raise NotVerified.at(self.span.name, "head_root")
        counted = self._archive.size(f"{self.span.name}.log"), records.allowed, records.refused, records.closed
        signed = (
            last.size_bytes - first.size_bytes,
            last.allowed - first.allowed,
            last.refused - first.refused,
            last.closed - first.closed,
        )
        if counted != signed or not first.counters_grow_to(last):
            raise NotVerified.at(self.span.name, "head_counters")


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


class _Nodes:
    """Those nodes of the tree that the inclusion proofs of a sample take, as they come to be."""

    def __init__(self, span: Span, sample: set[int]) -> None:
        self._span = span
        self._kept = dict(zip(peaks(0, span.first.size), span.peaks, strict=True))
        self._kinds: dict[int, int] = {}
        self._leaves: dict[int, bytes] = {}
        self._sample = sample
        # the leaf that completes a node, and the levels of the nodes wanted of it
        self.completed: dict[int, set[int]] = {number: set() for number in sample}

        def want(level: int, index: int) -> bytes:
            if (level, index) not in self._kept:
                self.completed.setdefault(((index + 1) << level) - 1, set()).add(level)
            return b""

        for number in sample:
            inclusion_path(number, span.last.size, want)

    def take(self, number: int, made: list[bytes], kind: int) -> None:
        for level in self.completed[number]:
            self._kept[level, number >> level] = made[level]
        if number in self._sample:
            self._leaves[number], self._kinds[number] = made[0], kind

    def proved(self) -> list[tuple[int, int]]:
        """Raises NotVerified: evidence_sample."""
        last = self._span.last
        for number in sorted(self._sample):
            try:
                path = inclusion_path(number, last.size, lambda level, index: self._kept[level, index])
                check_inclusion(self._leaves[number], number, last.size, path, last.root)
            except (Unauthentic, KeyError):
                raise NotVerified.at(record_name(last.shard, number), "evidence_sample") from None
        return sorted(self._kinds.items())


def openings(file: _Readable) -> Iterator[bytes]:
    """What was opened of each sealed leaf in turn: the opening (32 bytes) and the metadata behind it, or one byte that
    says why there is none. Raises Broken: evidence_malformed."""
    data, offset = b"", 0
    while True:
        while len(data) - (start := offset + 4) >= 0:
            (length,) = _LENGTH.unpack_from(data, offset)
            if length < len(UNREAD):
                yield bytes((length,))
                offset = start
                continue
            if not _OPENING < length <= MAX_OPENED:
                raise Broken("evidence_malformed")
            if len(data) - start < length:
                break
            offset = start + length
            yield data[start:offset]
        rest = data[offset:]
        more = file.read(max(_CHUNK, len(rest)))
        if not more:
            if rest:
                raise Broken("evidence_malformed")
            return
        data, offset = rest + more, 0


def _compare(marks: list[tuple[bytes, str, str]], found: bytes) -> None:
    for root, place, code in marks:
        if root != found:
            raise NotVerified.at(place, code)
