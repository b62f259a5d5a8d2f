"""The side of the box: the exchange that goes to its witness, and the co-signed heads that come back."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from compliance.crypto import Unauthentic
from compliance.journal.appended import Appended, last_note
from compliance.journal.errors import JournalError
from compliance.journal.genesis import CERTIFICATES, JOINT_HEADS, identity
from compliance.journal.shard import NODE
from compliance.verify.keyring import Keyring
from compliance.verify.leaf import Broken, frames, shard_name
from compliance.verify.merkle import Nodes, Tree, check_consistency, consistency_path, position
from compliance.verify.note import Note, cosigned_at, notes, regular
from compliance.verify.statements import JointHead, Revocation
from compliance.witness.errors import WitnessError
from compliance.witness.exchange import Exchange, Size

__all__ = ["Witnessed", "last_joint_head"]

WITNESSED = "witnessed.notes"


class Witnessed:
    """The heads of one journal that a witness has co-signed. `root` and `witness` are public keys.

    Whatever cannot be read or written raises JournalError.
    """

    def __init__(self, directory: Path, root: bytes, witness: bytes) -> None:
        self.id = identity(directory, root)
        self._directory = directory
        self._root = root
        self._witness = witness

    def last(self) -> JointHead | None:
        """The last head that this witness has co-signed, as far as the box knows."""
        with self._kept() as file:
            return self._last(file)

    def exchange(self, known: JointHead | None) -> Exchange:
        """The last joint head, for a witness that has seen `known` last, with the proof that it holds all of that.

        When it does not, the exchange shows this too.
        """
        keyring, revocations = self._keyring()
        note, head = self._own()
        try:
            certificate = keyring.certificate(keyring.signer_of(note), head.at) or ""
        except Unauthentic:
            raise JournalError("journal_broken", "the last joint head bears no certified signature") from None
        begun = zip(() if known is None else known.shards, head.shards, strict=False)
        grown = [_grown(self._directory, number, min(old[0], new[0]), new) for number, (old, new) in enumerate(begun)]
        return Exchange(
            format=1,
            head=note.written(),
            certificate=certificate,
            revocations=revocations,
            old=tuple(own for own, _ in grown),
            proofs=tuple(tuple(path) for _, path in grown),
        )

    def keep(self, head: str, certificate: str | None = None) -> JointHead:
        """Keep a co-signed head of this journal, as the witness sent it. Raises WitnessError: witness_answer.

        `certificate` is that of the key that signed it, in case this box has lost it. The head is kept also when it
        contradicts the log: `must_hold` tells, and so does every verifier from then on.
        """
        note, seen = self._checked(head, certificate)
        with self._kept() as file:
            last = self._last(file)
            if last is None or (last.at <= seen.at and last != seen):
                file.cut()
                file.append_synced(f"{note.written()}\n".encode())
        return seen

    def must_hold(self, seen: JointHead) -> None:
        """Raises JournalError: journal_forked, when this journal does not hold all that the witness has seen."""
        _, own = self._own()
        for number, (size, root) in enumerate(seen.shards):
            if number >= len(own.shards) or own.shards[number][0] < size:
                raise JournalError("journal_forked", f"the witness has seen more of {shard_name(number)} than is here")
            (_, found), _ = _grown(self._directory, number, size, own.shards[number])
            if found != root:
                raise JournalError("journal_forked", f"the witness has seen another {shard_name(number)} than this one")

    def _own(self) -> tuple[Note, JointHead]:
        try:
            note = Note.parsed(last_joint_head(self._directory))
            return note, JointHead.parsed(note.text)
        except (Unauthentic, ValueError):
            raise JournalError("journal_broken", f"the last joint head in {self._directory} does not hold") from None

    def _checked(self, text: str, certificate: str | None) -> tuple[Note, JointHead]:
        keyring, _ = self._keyring()
        try:
            if certificate is not None:
                keyring.take(certificate)
            note = Note.parsed(text)
            seen = JointHead.parsed(note.text)
            key = keyring.signer_of(note)
            cosigned_at(note, self._witness)
            if seen.id != self.id or keyring.certificate(key, seen.at) is None or keyring.revoked(key, seen.at):
                raise ValueError("not of this journal")
        except (Unauthentic, Broken, ValueError):
            raise WitnessError("witness_answer", "this is no head of this journal that the witness signed") from None
        return note, seen

    def _last(self, file: Appended) -> JointHead | None:
        text, file.end = last_note(file.descriptor)
        if text is None:
            return None
        try:
            note = Note.parsed(text)
            cosigned_at(note, self._witness)
            return JointHead.parsed(note.text)
        except (Unauthentic, ValueError):
            return None  # of another witness, before

    @contextmanager
    def _kept(self) -> Iterator[Appended]:
        """The heads that came back, while no other process adds one."""
        try:
            with closing(Appended(self._directory / WITNESSED)) as file:
                fcntl.flock(file.descriptor, fcntl.LOCK_EX)
                yield file
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "this is no text"
            raise JournalError("journal_write", f"{self._directory / WITNESSED}: {reason}") from None

    def _keyring(self) -> tuple[Keyring, tuple[str, ...]]:
        """All that the root has said, and of that its revocations."""
        keyring, revocations = Keyring(self.id, self._root), []
        try:
            for note, _ in notes(self._directory / CERTIFICATES, "certificate_truncated", "certificate_invalid"):
                if isinstance(keyring.take(note), Revocation):
                    revocations.append(note)
        except (OSError, Broken):
            raise JournalError("journal_broken", f"{self._directory / CERTIFICATES} does not hold") from None
        return keyring, tuple(revocations)


def last_joint_head(directory: Path) -> str:
    """The note of the last joint head of a journal, once it is synced. Raises JournalError."""
    path = directory / JOINT_HEADS
    try:
        with regular(path) as file:
            # whoever adds one holds the lock until it is on the disk
            fcntl.flock(file, fcntl.LOCK_SH)
            text, _ = last_note(file.fileno())
    except (OSError, UnicodeDecodeError):
        text = None
    if text is None:
        raise JournalError("journal_broken", f"{path} holds no joint head")
    return text


def _grown(directory: Path, number: int, old: int, new: Size) -> tuple[Size, list[bytes]]:
    """Size and root of the first `old` records of a shard, and the proof that these are the beginning of `new`.

    Raises JournalError when the records are not those under `new`.
    """
    size, root = new
    for source in (_stored, _made_again):
        try:
            node = source(directory / shard_name(number), size, _wanted(old, size))
            own = Tree.from_nodes(old, node).root()
            path = consistency_path(old, size, node)
            check_consistency(old, own, size, root, path)
            return (old, own), path
        except (OSError, Broken, Unauthentic, KeyError):
            continue
    raise JournalError("journal_broken", f"the records of {shard_name(number)} are not those that were signed")


def _wanted(old: int, size: int) -> set[tuple[int, int]]:
    """The nodes, by level and index, that it takes to show that the first tree is the beginning of the second."""
    found: set[tuple[int, int]] = set()

    def node(level: int, index: int) -> bytes:
        found.add((level, index))
        return b""

    Tree.from_nodes(old, node)
    consistency_path(old, size, node)
    return found


def _stored(shard: Path, size: int, wanted: set[tuple[int, int]]) -> Nodes:
    """From the file of nodes, which nobody trusts: what does not fit is made again."""
    with regular(shard.with_suffix(".nodes")) as file:
        nodes = {place: os.pread(file.fileno(), NODE, NODE * position(*place)) for place in wanted}
    return lambda level, index: nodes[level, index]


def _made_again(shard: Path, size: int, wanted: set[tuple[int, int]]) -> Nodes:
    """From the log, in one pass."""
    nodes: dict[tuple[int, int], bytes] = {}
    tree = Tree()
    with regular(shard.with_suffix(".log")) as file:
        records = frames(file.read, os.fstat(file.fileno()).st_size)
        for index, (_, leaf, _) in zip(range(size), records, strict=False):
            for level, node in enumerate(tree.append(leaf)):
                if (level, index >> level) in wanted:
                    nodes[level, index >> level] = node
    return lambda level, index: nodes[level, index]
