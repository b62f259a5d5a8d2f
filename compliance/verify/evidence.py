"""Check an evidence file with nothing but public keys: that it shows what one journal holds of one period.

The order of the checks, their places and their codes are those of docs/formats.md, "Evidence". The first that fails
ends it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compliance.crypto import Unauthentic, sha256
from compliance.verify.archive import Archive
from compliance.verify.attached import check_attached
from compliance.verify.claims import Claimed
from compliance.verify.counts import Counts
from compliance.verify.disclosed import Span
from compliance.verify.errors import NotVerified
from compliance.verify.journal import genesis_in
from compliance.verify.keyring import Keyring
from compliance.verify.leaf import HEADER, NOTED, PLACED, Broken, metadata_commitment, shard_name
from compliance.verify.merkle import check_consistency, check_inclusion, leaf_hash
from compliance.verify.note import WITNESS, Note, cosigned_at, notes_in, witness_id
from compliance.verify.recount import Sampled, recounted
from compliance.verify.statements import Genesis, Head, JointHead, head_parsed
from compliance.verify.timestamp import Kept, Stamped, imprint

__all__ = ["SAMPLE", "VerifiedEvidence", "verify_evidence"]

SAMPLE = 32  # leaves


@dataclass(frozen=True)
class VerifiedEvidence:
    """What evidence that holds says.

    `first` and `last` are the joint heads between which all leaves stand; `counts` were taken from the leaves.
    `unsigned` usage grants, overrides and declarations are told of whose signed files are not here. `given` says
    whether a head from outside was compared, `witnessed` what a witness saw when (s); with neither, the evidence is
    unwitnessed. `timestamps` are the tokens of time over joint heads, the oldest head first.
    """

    claimed: Claimed
    genesis: Genesis
    keyring: Keyring
    first: JointHead
    last: JointHead
    spans: tuple[Span, ...]
    counts: Mapping[str, Mapping[str, int]]
    auditors: tuple[str, ...]
    gaps: int
    unsigned: int
    sample: tuple[Sampled, ...]
    given: bool
    witnessed: tuple[int, int] | None
    timestamps: tuple[Stamped, ...] = ()


def verify_evidence(
    path: Path,
    root: bytes | str,
    *,
    head: str | None = None,
    nonce: str | None = None,
    witness: bytes | None = None,
    tsa_roots: Sequence[bytes] | None = None,
    period: tuple[int, int] | None = None,
    progress: Callable[[int], None] = lambda _: None,
) -> VerifiedEvidence:
    """Check an evidence file against the public key of the journal's root (32 bytes), or that key's fingerprint.

    `head` is a signed head that the auditor holds from before, from outside this file: that, or a `witness` by its key,
    shows that history was not written anew. `nonce` is any text that whoever made the evidence could not foresee; it
    chooses a sample of leaves. `tsa_roots` are the certificates (DER) to which the chains of tokens of time must lead;
    without them no chain is checked. `period` (ns) is what was asked for. `progress` hears how many bytes more of the
    leaves were read. Raises NotVerified with the one failure.
    """
    with Archive(path) as archive:
        claimed = Claimed.parsed(archive.read("evidence.json"))
        check = _Check(archive, claimed, root)
        check.joint_heads(period)
        check.witness(witness)
        check.heads()
        if head is not None:
            check.given(head)
        check.timestamps(tsa_roots)
        check.earlier()
        check.leaves(nonce, progress)
        check.attached()
        return check.verified(head is not None)


class _Check:
    """The steps, and what each leaves to those behind it."""

    def __init__(self, archive: Archive, claimed: Claimed, root: bytes | str) -> None:
        self._archive = archive
        self._claimed = claimed
        try:
            self._genesis = genesis_in(archive.read("journal.note"), root)
        except Unauthentic:
            raise NotVerified.at("journal.note", "genesis_signature") from None
        if self._genesis.id != claimed.journal:
            raise NotVerified.at("evidence.json", "evidence_journal")
        self._keyring = Keyring(self._genesis.id, self._genesis.root)
        for place, note in self._notes("certificates.notes", "certificate", "certificate_invalid"):
            with _failing(place):
                self._keyring.take(note)
        self._counts = Counts()
        self._witnessed: tuple[int, int] | None = None

    def joint_heads(self, period: tuple[int, int] | None) -> None:
        """The two between which the leaves stand, around the period."""
        joints = [self._joint(place, note) for place, note in self._notes("joint.notes", "joint", "joint_signature")]
        if len(joints) != 2:
            raise NotVerified.at("joint.notes", "joint_missing")
        (self._first, begin), (self._last, self._note) = joints
        self._ends = begin, self._note
        if not self._first.grows_to(self._last):
            raise NotVerified.at("joint 1", "joint_order")
        sizes = tuple(size for size, _ in self._first.shards)
        sizes += (0,) * (len(self._last.shards) - len(sizes))
        ends = tuple(zip(sizes, (size for size, _ in self._last.shards), strict=True))
        if ends != tuple(bounds for bounds, _ in self._claimed.shards):
            raise NotVerified.at("evidence.json", "evidence_malformed")
        since, until = self._claimed.since, self._claimed.until
        asked = period or (since, until)
        # nothing stands before a first head over nothing
        begins = since <= asked[0] or not self._first.total
        if not (begins and self._first.at <= since <= until <= self._last.at and asked[1] <= until):
            raise NotVerified.at("evidence.json", "evidence_period")

    def witness(self, public: bytes | None) -> None:
        """The co-signature of the witness under the last joint head."""
        if public is None:
            return
        if (WITNESS, witness_id(public)) not in (signature[:2] for signature in self._note.signatures):
            raise NotVerified.at("joint 1", "witness_missing")
        try:
            self._witnessed = self._last.total, cosigned_at(self._note, public)
        except Unauthentic:
            raise NotVerified.at("joint 1", "witness_signature") from None

    def heads(self) -> None:
        """The heads of the shards at both ends: their counters are what is counted again."""
        found: dict[int, list[Head]] = {number: [] for number in range(len(self._last.shards))}
        for place, note in self._notes("heads.notes", "head", "head_signature"):
            head, key = self._signed(place, note, Head.parsed, "head_signature")
            if head.id != self._keyring.id or head.shard not in found:
                raise NotVerified.at(place, "head_origin")
            if self._keyring.certificate(key, head.at) is None:
                raise NotVerified.at(place, "head_expired")
            found[head.shard].append(head)
        self._spans = tuple(self._span(number, *heads) for number, heads in found.items())

    def given(self, text: str) -> None:
        """The head that the auditor holds, which must be one of the same history."""
        with _refused("head", "given_signature"):
            note = Note.parsed(text)
            head = head_parsed(note.text)
            if head.id != self._keyring.id:
                raise NotVerified.at("head", "given_foreign")
            if self._keyring.certificate(self._keyring.signer_of(note), head.at) is None:
                raise NotVerified.at("head", "given_signature")
        for number, (size, root) in head.by_shard().items():
            if number >= len(self._spans):
                # a shard that was begun later, or that a head before this evidence had already
                if head.at <= self._last.at and size:
                    raise NotVerified.at("head", "given_missing")
                continue
            span = self._spans[number]
            if span.first.size <= size <= span.last.size:
                span.marks.setdefault(size, []).append((root, "head", "given_root"))
            else:
                self._consistent(span, size, root, head.at)

    def timestamps(self, roots: Sequence[bytes] | None) -> None:
        """The tokens of time over joint heads of the same history, which the leaves must give."""
        found: dict[str, Stamped] = {}
        for name in self._archive.names:
            if not name.startswith("timestamps/"):
                continue
            with _failing(name):
                kept = Kept.parsed(self._archive.read(name))
                found[name] = kept.check(roots)
            if name != f"timestamps/{kept.digest}.json":
                raise NotVerified.at(name, "timestamp_malformed")
            self._stands(name, kept)
        self._timestamps = tuple(sorted(found.values(), key=lambda one: (one.head_at, one.token)))

    def _stands(self, name: str, kept: Kept) -> None:
        """The head under a token is one between both joint heads, and will be compared with the leaves."""
        with _refused(name, "timestamp_head"):
            signer = self._keyring.signer_of(kept.note)
            if kept.head.id != self._keyring.id or self._keyring.certificate(signer, kept.head.at) is None:
                raise ValueError("of another journal, or not of its day")
            if not (self._first.grows_to(kept.head) and kept.head.grows_to(self._last)):
                raise ValueError("not between the joint heads")
        for number, (size, root) in kept.head.by_shard().items():
            self._spans[number].marks.setdefault(size, []).append((root, name, "timestamp_head"))

    def earlier(self) -> None:
        """The notes from before the period, of which no two may be the same."""
        seen = set()
        for one in self._claimed.earlier:
            place = one.shard, one.sequence
            with _refused(one.name, "evidence_earlier"):
                if place in seen or one.shard >= len(self._spans) or len(one.body) < HEADER:
                    raise ValueError("not before the period")
                _, kind, shard, sequence, *_ = PLACED.unpack_from(one.body)
                if (kind, shard, sequence) != (NOTED, *place):
                    raise ValueError("another record")
                first = self._spans[one.shard].first
                check_inclusion(leaf_hash(one.body), one.sequence, first.size, one.path, first.root)
            seen.add(place)
            if metadata_commitment(one.opening, one.metadata) != one.body[42:74]:
                raise NotVerified.at(one.name, "evidence_opening")
            with _failing(one.name):
                self._counts.noted(one.metadata)

    def leaves(self, nonce: str | None, progress: Callable[[int], None]) -> None:
        """Every leaf of the period, the calls that ended in another shard, and all counts."""
        found = recounted(self._archive, self._spans, self._counts, self._chosen(nonce), progress)
        _compare(self._claimed.counts, found.counts)
        here = {one.token for one in self._timestamps}
        ends = {imprint(note).hex() for note in self._ends}
        for token, head, at in sorted(self._counts.stamps):
            if token not in here and (head in ends or self._first.at < at < self._last.at):
                raise NotVerified.at(f"timestamps/{token[:64]}.json", "timestamp_missing")
        self._found = found

    def attached(self) -> None:
        """What lies beside the leaves."""
        heads = (span.last for span in self._spans)
        self._unsigned = check_attached(self._archive, self._claimed, self._counts, heads)

    def verified(self, given: bool) -> VerifiedEvidence:
        return VerifiedEvidence(
            claimed=self._claimed,
            genesis=self._genesis,
            keyring=self._keyring,
            first=self._first,
            last=self._last,
            spans=self._spans,
            counts=self._found.counts,
            auditors=self._found.auditors,
            gaps=self._found.gaps,
            unsigned=self._unsigned,
            sample=self._found.sample,
            given=given,
            witnessed=self._witnessed,
            timestamps=self._timestamps,
        )

    def _notes(self, name: str, what: str, malformed: str) -> Iterator[tuple[str, str]]:
        number, notes = 0, notes_in(self._archive.read(name), malformed, malformed)
        while True:
            with _failing(f"{what} {number}"):
                note = next(notes, None)
            if note is None:
                return
            yield f"{what} {number}", note
            number += 1

    def _signed(self, place: str, text: str, parse: Callable[[str], Any], code: str) -> tuple[Any, bytes]:
        """The statement in a note, and the certified key that signed it."""
        with _refused(place, code):
            note = Note.parsed(text)
            return parse(note.text), self._keyring.signer_of(note)

    def _joint(self, place: str, text: str) -> tuple[JointHead, Note]:
        joint, key = self._signed(place, text, JointHead.parsed, "joint_signature")
        if joint.id != self._keyring.id:
            raise NotVerified.at(place, "joint_origin")
        if self._keyring.certificate(key, joint.at) is None:
            raise NotVerified.at(place, "joint_expired")
        if self._keyring.revoked(key, joint.at):
            raise NotVerified.at(place, "joint_revoked")
        return joint, Note.parsed(text)

    def _span(self, number: int, *heads: Head) -> Span:
        """The heads of a shard are those that the joint heads are made of."""
        (size, end), peaks = self._claimed.shards[number]
        lines = self._first.shards[number] if number < len(self._first.shards) else None, self._last.shards[number]
        if len(heads) != 2 or (heads[0].size, heads[1].size) != (size, end):
            raise NotVerified.at(shard_name(number), "head_missing")
        if lines[0] not in (None, (heads[0].size, heads[0].root)) or lines[1] != (heads[1].size, heads[1].root):
            raise NotVerified.at(shard_name(number), "joint_root")
        return Span(heads[0], heads[1], peaks, {})

    def _consistent(self, span: Span, size: int, root: bytes, at: int) -> None:
        """A head of another size than the leaves have here: a proof leads from one to the other."""
        number, first, last = span.last.shard, span.first, span.last
        if size > last.size and at <= self._last.at:
            raise NotVerified.at("head", "given_missing")
        path = self._claimed.consistency.get((number, size))
        if path is None:
            raise NotVerified.at("head", "given_unproved")
        with _refused("head", "given_root"):
            if size < first.size:
                check_consistency(size, root, first.size, first.root, path)
            else:
                check_consistency(last.size, last.root, size, root, path)

    def _chosen(self, nonce: str | None) -> dict[int, set[int]]:
        """The leaves of the sample, by shard: the same for the same nonce and the same last joint head."""
        sizes = [(span.last.shard, span.first.size, span.last.size - span.first.size) for span in self._spans]
        total = sum(count for _, _, count in sizes)
        found: dict[int, set[int]] = {}
        if nonce is None or not total:
            return found
        seed = sha256(b"sealpress.sample/1\x00", nonce.encode(), b"\x00", self._last.text().encode())
        for number in range(SAMPLE):
            at = int.from_bytes(sha256(seed, number.to_bytes(4, "big"))[:16], "big") % total
            for shard, start, count in sizes:
                if at < count:
                    found.setdefault(shard, set()).add(start + at)
                    break
                at -= count
        return found


def _compare(claimed: Mapping[str, Mapping[str, int]], counted: Mapping[str, Mapping[str, int]]) -> None:
    """Every number that is claimed is what was counted, and no other is. Raises NotVerified: evidence_count."""
    for group in sorted(claimed.keys() | counted.keys()):
        one, other = claimed.get(group), counted.get(group)
        if one is None or other is None:
            raise NotVerified.at(f"counts.{group}", "evidence_count")
        for name in sorted(one.keys() | other.keys()):
            if one.get(name) != other.get(name):
                raise NotVerified.at(f"counts.{group}.{name[:80]}", "evidence_count")


@contextmanager
def _refused(place: str, code: str) -> Iterator[None]:
    """What is no statement, or not signed by whom it must, is refused with this code."""
    try:
        yield
    except (Unauthentic, AttributeError, KeyError, TypeError, ValueError, RecursionError):
        raise NotVerified.at(place, code) from None


@contextmanager
def _failing(place: str) -> Iterator[None]:
    try:
        yield
    except Broken as broken:
        raise NotVerified.at(place, broken.code) from None
