"""Take a shard: lock it, find where it ended, and mend what a crash left torn.

The nodes of the tree are trusted as far as the last signed head proves them, so taking a shard reads only what was
written since. Where they do not fit they are made again from the log. Records behind the last head are whole (their
check says so) but nobody signed them: a GAP record says how many they are, and what was dropped behind them.
"""

from __future__ import annotations

import fcntl
import mmap
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from compliance.crypto import Unauthentic
from compliance.journal.appended import Appended, last_note
from compliance.journal.errors import JournalError
from compliance.journal.shard import NODE, UNREAD, Shard
from compliance.verify.keyring import Keyring
from compliance.verify.leaf import EPOCH, FRAME, GAP, HEADER, Broken, Epoch, Gap, Leaf, read_frame, shard_name
from compliance.verify.merkle import Tree, stored
from compliance.verify.note import Note
from compliance.verify.statements import Head

__all__ = ["last_head", "last_heads", "lock", "take"]

MAX_SHARDS = 1000
# how far back the last record is looked for before the whole log is read
_NEAR = 1_000_000
# nodes that are written at once when they are made again
_BATCH = 10_000


def take(directory: Path, keyring: Keyring, at: int) -> tuple[Shard, Gap | None]:
    """Lock the first free shard and go on where it ends, or begin a new one, at the time `at` (ns).

    Nothing is written yet: when there is a Gap, it belongs behind the last record, and what stands there is cut off.
    Raises JournalError when the shard does not hold, or none can be had.
    """
    for number in range(MAX_SHARDS):
        if locked := lock(directory, number, keyring, at):
            return locked
    raise JournalError("journal_shards", f"{MAX_SHARDS} shards are in use")


def lock(directory: Path, number: int, keyring: Keyring, at: int) -> tuple[Shard, Gap | None] | None:
    """`take` for one shard; None when a process holds it."""
    path = directory / f"{shard_name(number)}.log"
    try:
        log = Appended(path)
        try:
            fcntl.flock(log.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shard = Shard(directory, number, keyring.id, log)
        except BlockingIOError:
            log.close()
            return None
        except BaseException:
            log.close()
            raise
        try:
            return shard, _recovered(shard, keyring, at)
        except BaseException:
            shard.close()
            raise
    except OSError as error:
        raise JournalError("journal_write", f"{path}: {error.strerror}") from None


def last_heads(directory: Path, keyring: Keyring) -> list[Head]:
    """The last signed head of every shard, by number. Raises JournalError when one does not hold, OSError."""
    heads = []
    for number in range(MAX_SHARDS):
        found = last_head(directory, number, keyring)
        if found is None:
            break
        heads.append(found[0])
    return heads


def last_head(directory: Path, number: int, keyring: Keyring) -> tuple[Head, str] | None:
    """The last signed head of a shard, and its note; None when there is none yet. Raises JournalError, OSError."""
    try:
        descriptor = os.open(directory / f"{shard_name(number)}.heads", os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return None
    try:
        return _last(descriptor, number, keyring)[0]
    finally:
        os.close(descriptor)


def _recovered(shard: Shard, keyring: Keyring, at: int) -> Gap | None:
    """Bring the shard to where its files end. What a crash left behind that, the Gap says."""
    found, shard.heads.end = _last(shard.heads.descriptor, shard.number, keyring)
    length = shard.log.length()
    if found is None:
        if length:
            raise JournalError("journal_broken", f"{shard_name(shard.number)} has records but no signed head")
        shard.heads.cut()
        return None
    head, _ = found
    if length < head.size_bytes:
        raise JournalError("journal_broken", f"{shard_name(shard.number)} has lost records that were signed")
    with _mapped(shard.log, length) as log:
        shard.log.end = head.size_bytes
        shard.log.doubt(head.size_bytes)
        shard.resume(head, _tree(shard, head, log))
        shard.epoch = _last_epoch(shard, log) if head.size else 0
        refused = shard.counts.refused
        latest = max(at, _take_tail(shard, log, head.at))
    if shard.counts.refused > refused:
        shard.counts.rules[UNREAD] += shard.counts.refused - refused
    gap = Gap(
        at=latest,
        log_bytes=length - shard.log.end,
        head_bytes=shard.heads.length() - shard.heads.end,
        unsigned=shard.size - head.size,
    )
    return gap if any(gap[1:]) else None


def _last(descriptor: int, number: int, keyring: Keyring) -> tuple[tuple[Head, str] | None, int]:
    """The last whole head with its note, and where it ends. The ones before are the verifier's to check."""
    try:
        text, end = last_note(descriptor)
        if text is None:
            return None, 0
        note = Note.parsed(text)
        keyring.signer_of(note)
        head = Head.parsed(note.text)
    except (Unauthentic, ValueError):
        raise JournalError("journal_broken", f"the last head of {shard_name(number)} does not hold") from None
    if (head.id, head.shard) != (keyring.id, number):
        raise JournalError("journal_broken", f"the last head of {shard_name(number)} belongs to another shard")
    return (head, text), end


def _tree(shard: Shard, head: Head, log: memoryview) -> Tree:
    """The tree that the head signed, from the nodes beside the log, or else from the log itself."""
    shard.nodes.end = NODE * stored(head.size)
    if shard.nodes.length() >= shard.nodes.end:
        tree = Tree.from_nodes(head.size, shard.node)
        if tree.root() == head.root:
            return tree
    tree, offset = Tree(), 0
    shard.nodes.end = 0
    try:
        while tree.size < head.size:
            made: list[bytes] = []
            while tree.size < head.size and len(made) < _BATCH:
                _, leaf, offset = read_frame(log, offset)
                made += tree.append(leaf)
            shard.nodes.append(b"".join(made))
    except Broken as broken:
        name = f"{shard_name(shard.number)}/{tree.size}"
        raise JournalError("journal_broken", f"{name}: {broken.code}") from None
    if tree.root() != head.root or offset != head.size_bytes:
        raise JournalError("journal_broken", f"{shard_name(shard.number)}: the records are not those that were signed")
    return tree


def _last_epoch(shard: Shard, log: memoryview) -> int:
    """The epoch of the last signed record.

    Records are found from the front only; but this one is known by its hash, so it is looked for from behind.
    """
    end, leaf = shard.log.end, shard.node(0, shard.size - 1)
    for start in range(end - HEADER - FRAME, max(-1, end - _NEAR), -1):
        if int.from_bytes(log[start : start + 4], "big") == end - start - FRAME:
            with suppress(Broken):
                body, found, _ = read_frame(log, start)
                if found == leaf:
                    return Leaf.parsed(body).epoch
    try:
        body, found, offset = read_frame(log, 0)
        while offset < end:
            body, found, offset = read_frame(log, offset)
        if found == leaf:
            return Leaf.parsed(body).epoch
    except Broken:
        pass
    raise JournalError("journal_broken", f"{shard_name(shard.number)}: the last record is not the one that was signed")


def _take_tail(shard: Shard, log: memoryview, latest: int) -> int:
    """Take in the whole records behind the last head. Returns the latest time that was seen (ns)."""
    while shard.log.end < len(log):
        try:
            body, leaf_hash, end = read_frame(log, shard.log.end)
            leaf = Leaf.parsed(body)
            if (leaf.shard, leaf.sequence) != (shard.number, shard.size):
                break  # left from before the log was cut here
            if leaf.kind in (EPOCH, GAP):
                at = (Epoch if leaf.kind == EPOCH else Gap).parsed(leaf.content).at
                if at < latest:
                    break  # the same, behind a GAP that was put there since
                latest = at
        except Broken:
            break
        shard.epoch = leaf.epoch
        shard.found(leaf.kind, leaf_hash, end)
    return latest


@contextmanager
def _mapped(file: Appended, length: int) -> Iterator[memoryview]:
    if not length:
        yield memoryview(b"")
        return
    with mmap.mmap(file.descriptor, length, access=mmap.ACCESS_READ) as mapped, memoryview(mapped) as log:
        yield log
