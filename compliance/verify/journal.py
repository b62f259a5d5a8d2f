"""Check a whole journal with public keys only: who may sign, the signed heads, every record, the tree below them.

The order of the checks, their places and their codes are those of docs/formats.md, "Verification".
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from compliance.crypto import Unauthentic, sha256
from compliance.verify.errors import Failure, NotVerified
from compliance.verify.heads import being_written, numbered
from compliance.verify.keyring import Keyring
from compliance.verify.leaf import Broken, record_name, shard_name
from compliance.verify.note import ROOT, WITNESS, Note, cosigned_at, regular, witness_id
from compliance.verify.shard import CheckedShard, Mark
from compliance.verify.statements import Genesis, Head, JointHead, head_parsed

__all__ = [
    "CERTIFICATES",
    "GENESIS",
    "Failure",
    "NotVerified",
    "Verified",
    "genesis",
    "genesis_in",
    "keyring",
    "shards",
    "verify_journal",
]

GENESIS, CERTIFICATES, JOINT, WITNESSED = "journal.note", "certificates.notes", "journal.heads", "witnessed.notes"
MAX_GENESIS = 65_536  # bytes


@dataclass
class Verified:
    """What a journal that holds says in public.

    `unfinished` calls have no outcome, `unsealed` records stand behind the last heads and are not signed yet.
    `witnessed` is how many records the witness has seen at what time (s), None when no witness was asked for.
    """

    id: str = ""
    records: int = 0
    allowed: int = 0
    refused: int = 0
    closed: int = 0
    unfinished: int = 0
    unsealed: int = 0
    gaps: int = 0
    heads: dict[str, Head] = field(default_factory=dict)  # the last of each shard, by its name
    joint: JointHead | None = None  # the last
    auditors: set[str] = field(default_factory=set)  # the fingerprints of those to whom epochs were sealed
    given: bool = False  # whether a head from outside was compared
    witnessed: tuple[int, int] | None = None


def verify_journal(
    directory: Path,
    root: bytes | str,
    *,
    head: str | None = None,
    revocations: Sequence[str] = (),
    witness: bytes | None = None,
    progress: Callable[[int], None] = lambda _: None,
) -> Verified:
    """Check a journal directory against the public key of its root (32 bytes), or that key's fingerprint.

    `head` is a signed head that was kept outside the box, and the only way to notice that everything was rolled back
    together; `revocations` are notes of the root that the box may not have, `witness` is the key of one who co-signs
    the heads. `progress` hears how many bytes more of the logs were read. Raises NotVerified with the failures.

    The journal may be written to meanwhile: what was signed when it was looked at must hold, and what comes after
    belongs to the next verification.
    """
    check = _Check(directory, _begun(directory, root))
    with check.step():
        check.certificates()
    check.keyring.revoke(revocations)
    with check.step():
        check.joint_heads()
    if head is not None:
        with check.step():
            check.given(head)
    if witness is not None:
        with check.step():
            check.witnessed(witness)
    for shard in check.each_shard():
        with check.step():
            shard.check(progress)
    if not check.failures:
        with check.step():
            check.settle()
    return check.verified()


def genesis(directory: Path, root: bytes | str) -> Genesis:
    """The signed first page of a journal, for the key of its root or its fingerprint (64 hexadecimal digits).

    Raises FileNotFoundError, Unauthentic.
    """
    with regular(directory / GENESIS) as file:
        return genesis_in(file.read(MAX_GENESIS + 1), root)


def genesis_in(data: bytes, root: bytes | str) -> Genesis:
    """The same for the bytes of that page. Raises Unauthentic."""
    try:
        note = Note.parsed(data.decode())
        found = Genesis.parsed(note.text)
    except ValueError:
        raise Unauthentic("signature", "this is not the first page of a journal") from None
    if root not in (found.root, sha256(found.root).hex()):
        raise Unauthentic("signature", "the journal is of another root")
    note.check(ROOT, found.root)
    return found


def keyring(directory: Path, root: bytes | str) -> Keyring:
    """All that the root of a journal has said, for its key or its fingerprint. Raises NotVerified."""
    found = _begun(directory, root)
    _take_certificates(found, directory)
    return found


def shards(directory: Path) -> list[str]:
    """The names of the shards, from their logs and from heads whose log is gone."""
    return sorted({path.stem for path in directory.iterdir() if _SHARD.fullmatch(path.name)})


class _Check:
    """The steps, and what each leaves to those behind it."""

    def __init__(self, directory: Path, keyring: Keyring) -> None:
        self.keyring = keyring
        self.failures: list[Failure] = []
        self._directory = directory
        # heads are measured before the keys are read that signed them, and these before the logs below them
        self._sizes = {path.name: path.lstat().st_size for path in directory.glob("*.heads")}
        self._marks: defaultdict[int, list[Mark]] = defaultdict(list)
        self._ciphertexts: set[bytes] = set()
        self._shards: list[CheckedShard] = []
        self._joint: JointHead | None = None
        self._given = False
        self._witnessed: tuple[int, int] | None = None

    @contextmanager
    def step(self) -> Iterator[None]:
        """The first failure ends a step, and only that."""
        try:
            yield
        except NotVerified as refusal:
            self.failures += refusal.failures

    def certificates(self) -> None:
        _take_certificates(self.keyring, self._directory)

    def joint_heads(self) -> None:
        place, key = "", b""
        with suppress(FileNotFoundError):
            for place, text in self._notes(JOINT, "joint", "joint_truncated", "joint_signature"):
                found, key, note = self._joint_in(text, place, "joint_signature")
                if len(note.signatures) != 1:
                    raise NotVerified.at(place, "joint_signature")
                if self.keyring.certificate(key, found.at) is None:
                    raise NotVerified.at(place, "joint_expired")
                if found.id != self.keyring.id:
                    raise NotVerified.at(place, "joint_origin")
                if self._joint is not None and not self._joint.grows_to(found):
                    raise NotVerified.at(place, "joint_order")
                self._joint = found
                self._mark(found, place, "joint_root", "joint_missing")
        if self._joint is None:
            raise NotVerified.at(JOINT, "joint_missing")
        if self.keyring.revoked(key, self._joint.at):
            raise NotVerified.at(place, "joint_revoked")

    def given(self, text: str) -> None:
        with _refused("head", "given_signature"):
            note = Note.parsed(text)
            head = head_parsed(note.text)
            if head.id != self.keyring.id:
                raise NotVerified.at("head", "given_foreign")
            if self.keyring.certificate(self.keyring.signer_of(note), head.at) is None:
                raise NotVerified.at("head", "given_signature")
        self._given = True
        self._mark(head, "head", "given_root", "given_missing")

    def witnessed(self, public: bytes) -> None:
        """The joint heads that the witness has co-signed; those that only others have are left aside."""
        bears = WITNESS, witness_id(public)
        with suppress(FileNotFoundError):
            for place, text in self._notes(WITNESSED, "witnessed", "witness_signature", "witness_signature"):
                head, key, note = self._joint_in(text, place, "witness_signature")
                if bears not in (signature[:2] for signature in note.signatures):
                    continue
                with _refused(place, "witness_signature"):
                    seen = head.total, cosigned_at(note, public)
                if head.id != self.keyring.id or self.keyring.certificate(key, head.at) is None:
                    raise NotVerified.at(place, "witness_signature")
                self._witnessed = max(seen, self._witnessed or seen)
                self._mark(head, place, "witness_root", "witness_missing")
        if self._witnessed is None:
            raise NotVerified.at(WITNESSED, "witness_missing")

    def each_shard(self) -> Iterator[CheckedShard]:
        """The shards up to the highest number that is in the folder or under a head."""
        present = (int(name.removeprefix("shard-")) for name in shards(self._directory))
        for number in range(max((*present, *self._marks), default=-1) + 1):
            # a shard that was just begun had no heads when they were measured
            heads_size = self._sizes.get(f"{shard_name(number)}.heads") or None
            shard = CheckedShard(
                self._directory, number, self.keyring, self._marks.pop(number, ()), self._ciphertexts, heads_size
            )
            self._shards.append(shard)
            yield shard

    def settle(self) -> None:
        """The calls that ended in another shard than they began in (a process forked)."""
        for shard in self._shards:
            for sequence, of_shard, of_sequence in shard.elsewhere:
                of = self._shards[of_shard] if of_shard < len(self._shards) else None
                if of is None or of_sequence not in of.open:
                    if of is not None and of_sequence >= of.count and being_written(of.log, of.size):
                        continue  # it began since that shard was read
                    raise NotVerified.at(record_name(shard.number, sequence), "record_of")
                of.open.remove(of_sequence)

    def verified(self) -> Verified:
        """Raises NotVerified when there was a failure."""
        records = sum(shard.count for shard in self._shards)
        if self.failures:
            raise NotVerified(self.failures, records)
        heads = {shard.name: shard.last for shard in self._shards if shard.last is not None}
        return Verified(
            id=self.keyring.id,
            records=records,
            allowed=sum(shard.allowed for shard in self._shards),
            refused=sum(shard.refused for shard in self._shards),
            closed=sum(shard.closed for shard in self._shards),
            unfinished=sum(len(shard.open) for shard in self._shards),
            unsealed=records - sum(head.size for head in heads.values()),
            gaps=sum(shard.gaps for shard in self._shards),
            heads=heads,
            joint=self._joint,
            auditors=set().union(*(shard.auditors for shard in self._shards)),
            given=self._given,
            witnessed=self._witnessed,
        )

    def _notes(self, name: str, what: str, truncated: str, malformed: str) -> Iterator[tuple[str, str]]:
        path = self._directory / name
        return numbered(path, what, truncated, malformed, self._sizes.get(name), path)

    def _joint_in(self, text: str, place: str, code: str) -> tuple[JointHead, bytes, Note]:
        """The joint head in a note, and the certified key that signed it."""
        with _refused(place, code):
            note = Note.parsed(text)
            return JointHead.parsed(note.text), self.keyring.signer_of(note), note

    def _mark(self, head: Head | JointHead, place: str, altered: str, missing: str) -> None:
        for shard, (size, root) in head.by_shard().items():
            marks = self._marks[shard]
            # most joint heads say of most shards what the one before said
            if not marks or marks[-1][:2] != (size, root) or marks[-1].altered != altered:
                marks.append(Mark(size, root, place, altered, missing))


def _begun(directory: Path, root: bytes | str) -> Keyring:
    """A keyring for the journal that this root began."""
    try:
        first = genesis(directory, root)
    except FileNotFoundError:
        raise NotVerified([Failure(GENESIS, "genesis_missing")]) from None
    except Unauthentic:
        raise NotVerified([Failure(GENESIS, "genesis_signature")]) from None
    return Keyring(first.id, first.root)


def _take_certificates(keyring: Keyring, directory: Path) -> None:
    path = directory / CERTIFICATES
    try:
        # the file is replaced as a whole
        for place, note in numbered(path, "certificate", "certificate_truncated", "certificate_invalid"):
            try:
                keyring.take(note)
            except Broken as broken:
                raise NotVerified.at(place, broken.code) from None
    except FileNotFoundError:
        raise NotVerified.at("certificate 0", "certificate_truncated") from None


@contextmanager
def _refused(place: str, code: str) -> Iterator[None]:
    """What is no statement, or not signed by whom it must, is refused with this code."""
    try:
        yield
    except (Unauthentic, ValueError):
        raise NotVerified.at(place, code) from None


_SHARD = re.compile(r"shard-[0-9]{3}\.(log|heads)")
