"""Joint heads: what joins the shards of a journal, so that none can be taken away or put back to an earlier state."""

from __future__ import annotations

import fcntl
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from compliance.crypto import Signer, Unauthentic
from compliance.disk import sync_folder
from compliance.journal.appended import Appended, last_note
from compliance.journal.errors import JournalError
from compliance.journal.recovery import last_heads
from compliance.verify.keyring import Keyring
from compliance.verify.leaf import shard_name
from compliance.verify.note import DAY, Note, signed
from compliance.verify.statements import Head, JointHead

__all__ = ["JOINT", "join", "last_joint"]

JOINT = "journal.heads"


def join(directory: Path, keyring: Keyring, signer: Callable[[int], Signer], at: int) -> list[Head]:
    """Write a joint head over the last heads of all shards, when one of them has moved on. Returns these heads.

    `at` is the time in nanoseconds since 1970. Raises JournalError when a shard has gone back or away.
    """
    try:
        with closing(Appended(directory / JOINT)) as file:
            # other processes join too; the system drops the lock with the descriptor
            fcntl.flock(file.descriptor, fcntl.LOCK_EX)
            last = _last(file, keyring)
            heads = last_heads(directory, keyring)
            joint = JointHead(keyring.id, max(at, last.at), tuple((head.size, head.root) for head in heads))
            if not last.grows_to(joint):
                raise JournalError("journal_broken", "a shard has gone back behind the last joint head, or away")
            if joint.shards != last.shards:
                _sync_heads(directory, last, joint)
                file.cut()
                file.append_synced(f"{signed(joint.text(), DAY, signer(joint.at))}\n".encode())
            return heads
    except OSError as error:
        raise JournalError("journal_write", f"{directory / JOINT}: {error.strerror}") from None


def last_joint(directory: Path, keyring: Keyring) -> JointHead:
    """The last joint head. Raises JournalError."""
    try:
        with closing(Appended(directory / JOINT)) as file:
            return _last(file, keyring)
    except OSError as error:
        raise JournalError("journal_write", f"{directory / JOINT}: {error.strerror}") from None


def _sync_heads(directory: Path, last: JointHead, joint: JointHead) -> None:
    """No joint head covers a head that a power cut can still take: its process may be about to sync it, or died."""
    if len(joint.shards) > len(last.shards):
        sync_folder(directory)
    for number, shard in enumerate(joint.shards):
        if shard not in last.shards[number : number + 1]:
            with closing(Appended(directory / f"{shard_name(number)}.heads")) as heads:
                heads.sync()


def _last(file: Appended, keyring: Keyring) -> JointHead:
    try:
        text, file.end = last_note(file.descriptor)
        if text is None:
            raise JournalError("journal_broken", f"{file.path} holds no joint head")
        note = Note.parsed(text)
        keyring.signer_of(note)
        found = JointHead.parsed(note.text)
    except (Unauthentic, ValueError):
        raise JournalError("journal_broken", f"the last joint head in {file.path} does not hold") from None
    if found.id != keyring.id:
        raise JournalError("journal_broken", f"the joint heads in {file.path} belong to another journal")
    return found
