"""The witness: keeps the last joint head of each journal that it trusts, and co-signs what grows from it.

    witness.key, witness.pub       its key
    journals/ID/root               the key of the journal's root, as ed25519:...
    journals/ID/last.json          the last head that was co-signed, and the certificate of its key
    journals/ID/revocations.json   the revocations of the root that came in
    journals/ID/forks/NAME.json    a head that contradicts the last one, with all that shows it

A file is written beside, synced and renamed into place, under a lock on the folder of its journal.
"""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

import msgspec

from compliance.crypto import Signer, Unauthentic, sha256
from compliance.disk import put, sync_folder
from compliance.verify.keyring import Keyring, certified
from compliance.verify.leaf import Broken, shard_name
from compliance.verify.merkle import check_consistency
from compliance.verify.note import Note, cosigned
from compliance.verify.statements import JointHead, Revocation, key_bytes, key_text
from compliance.witness.errors import WitnessError
from compliance.witness.exchange import MAX_DOCUMENT, MAX_REVOCATIONS, MAX_SHARDS, Exchange, Seen
from policies.errors import Failed

__all__ = ["Fork", "Witness"]

# how far the clock of a box may be ahead
AHEAD_NS = 3600 * 10**9
MAX_FORKS = 100

_ID = re.compile(r"[0-9a-f]{32}")
_D = TypeVar("_D")


class Fork(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Evidence: the head that was co-signed, and an exchange with a head that does not grow from it."""

    format: int
    seen: Seen
    exchange: Exchange


class Witness:
    """Safe for threads and processes. What cannot be read or written raises Failed: disk."""

    def __init__(self, store: Path, key: Signer) -> None:
        self._journals = store / "journals"
        self._key = key
        self.public = key.public

    def trust(self, id_: str, root: bytes) -> None:
        """Witness the journal with this id from now on, for this root. Raises WitnessError: witness_pinned."""
        folder = self._folder(id_)
        with _reported(folder):
            folder.mkdir(parents=True, exist_ok=True)
            sync_folder(folder.parent)
            with _locked(folder):
                known = _root(folder)
                if known is None:
                    put(folder / "root", key_text(root).encode() + b"\n")
                elif known != root:
                    raise WitnessError("witness_pinned", f"journal {id_} is trusted under another root")

    def last(self, id_: str, at: int) -> Seen | None:
        """The last head of a journal, co-signed at the time `at` (ns). Raises WitnessError: witness_unknown."""
        folder = self._folder(id_)
        with _reported(folder), self._trusted(folder):
            last = _read(folder / "last.json", Seen)
            return None if last is None else self._cosigned(last, at)

    def seen(self, document: bytes, at: int) -> Seen:
        """Take in an exchange at the time `at` (ns). Returns its head co-signed, also when it has come before.

        Raises WitnessError: exchange_malformed, witness_unknown, exchange_signature, witness_fork, witness_stale,
        exchange_proof, exchange_time.
        """
        exchange, note, head = _parsed(document)
        folder = self._folder(head.id)
        with _reported(folder), self._trusted(folder) as root:
            _check_signature(note, head, self._keyring(folder, exchange, head.id, root))
            new = Seen(format=1, head=exchange.head, certificate=exchange.certificate)
            last = _read(folder / "last.json", Seen)
            if last is None or last.head != new.head:
                self._check(exchange, head, last, folder, at)
                put(folder / "last.json", msgspec.json.encode(new))
            return self._cosigned(new, at)

    def _check(self, exchange: Exchange, head: JointHead, last: Seen | None, folder: Path, at: int) -> None:
        """Raises WitnessError with the last head; a contradiction to it is kept."""
        before = JointHead(head.id, 0, ()) if last is None else JointHead.parsed(Note.parsed(last.head).text)
        try:
            _check_growth(exchange, head, before, at)
        except WitnessError as error:
            if error.code == "witness_fork" and last is not None:
                _keep_fork(folder / "forks", Fork(format=1, seen=last, exchange=exchange))
            known = None if last is None else self._cosigned(last, at)
            raise WitnessError(error.code, f"journal {head.id}: {error}", known) from None

    def _folder(self, id_: str) -> Path:
        if not _ID.fullmatch(id_):
            raise WitnessError("witness_unknown", "this is no id of a journal")
        return self._journals / id_

    @contextmanager
    def _trusted(self, folder: Path) -> Iterator[bytes]:
        """The root that the journal is trusted under, while nobody else works on it."""
        unknown = WitnessError("witness_unknown", f"journal {folder.name} is not trusted here")
        if not folder.is_dir():
            raise unknown
        with _locked(folder):
            root = _root(folder)
            if root is None:
                raise unknown
            yield root

    def _keyring(self, folder: Path, exchange: Exchange, id_: str, root: bytes) -> Keyring:
        """The certificate that was brought, and all revocations that ever were, which are kept."""
        path = folder / "revocations.json"
        known = _read(path, tuple[str, ...]) or ()
        new = {note for note in exchange.revocations if note not in known and _is_revocation(note, id_, root)}
        every = (*known, *sorted(new))
        if len(every) > MAX_REVOCATIONS:
            raise WitnessError("exchange_malformed", f"a journal has at most {MAX_REVOCATIONS} revocations")
        if new:
            put(path, msgspec.json.encode(every))
        keyring = Keyring(id_, root)
        with suppress(Broken):  # then nobody may sign
            keyring.take(exchange.certificate)
        keyring.revoke(every)
        return keyring

    def _cosigned(self, seen: Seen, at: int) -> Seen:
        note = cosigned(Note.parsed(seen.head), at // 10**9, self._key)
        return msgspec.structs.replace(seen, head=note.written())


def _parsed(document: bytes) -> tuple[Exchange, Note, JointHead]:
    try:
        if len(document) > MAX_DOCUMENT:
            raise ValueError("too large")
        exchange = msgspec.json.decode(document, type=Exchange)
        note = Note.parsed(exchange.head)
        head = JointHead.parsed(note.text)
        if len(note.signatures) != 1 or len(head.shards) > MAX_SHARDS or len(exchange.old) != len(exchange.proofs):
            raise ValueError("no exchange")
    except (msgspec.MsgspecError, Unauthentic, ValueError, RecursionError):
        raise WitnessError("exchange_malformed", "this is no exchange of format 1") from None
    return exchange, note, head


def _check_signature(note: Note, head: JointHead, keyring: Keyring) -> None:
    try:
        key = keyring.signer_of(note)
    except Unauthentic:
        raise WitnessError(
            "exchange_signature", "the head was signed with no key that the trusted root certifies"
        ) from None
    if keyring.certificate(key, head.at) is None or keyring.revoked(key, head.at):
        raise WitnessError("exchange_signature", "the key was not certified for the time of the head, or was revoked")


def _check_growth(exchange: Exchange, head: JointHead, last: JointHead, at: int) -> None:
    """The head holds all that the last one does. Raises WitnessError."""
    sizes = [size for size, _ in last.shards]
    if len(head.shards) < len(sizes) or any(new < old for old, (new, _) in zip(sizes, head.shards, strict=False)):
        if head.at <= last.at:
            raise WitnessError("exchange_time", "the head is older than the last one")
        raise WitnessError("witness_fork", "the head is newer than the last one and holds less")
    if [size for size, _ in exchange.old] != sizes:
        raise WitnessError("witness_stale", "the exchange does not begin where the last head ends")
    for number, (proof, own, new) in enumerate(zip(exchange.proofs, exchange.old, head.shards, strict=False)):
        try:
            check_consistency(*own, *new, proof)
        except Unauthentic:
            raise WitnessError("exchange_proof", f"the proof for {shard_name(number)} does not hold") from None
        # the proof holds: so the head itself says that its first records are others than those of the last head
        if own != last.shards[number]:
            raise WitnessError("witness_fork", f"{shard_name(number)} does not grow from the last head")
    if not last.at <= head.at <= at + AHEAD_NS:
        raise WitnessError("exchange_time", "the head is older than the last one, or ahead of the clock here")


def _is_revocation(note: str, id_: str, root: bytes) -> bool:
    try:
        return isinstance(certified(note, id_, root), Revocation)
    except Broken:
        return False


def _keep_fork(folder: Path, fork: Fork) -> None:
    """Once for each head, and not without end."""
    folder.mkdir(exist_ok=True)
    path = folder / f"{sha256(fork.exchange.head.encode()).hex()[:16]}.json"
    if not path.exists() and len(list(folder.iterdir())) < MAX_FORKS:
        put(path, msgspec.json.encode(fork))


def _root(folder: Path) -> bytes | None:
    try:
        return key_bytes((folder / "root").read_text("utf-8").removesuffix("\n"))
    except FileNotFoundError:
        return None
    except ValueError:
        raise Failed("disk", f"{folder / 'root'} holds no key") from None


def _read(path: Path, kind: type[_D]) -> _D | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except FileNotFoundError:
        return None
    except msgspec.MsgspecError:
        raise Failed("disk", f"{path} is not what was written there") from None


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def _reported(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise Failed("disk", f"{error.filename or folder}: {error.strerror}") from None
