"""Prove a single record from the log, to someone who holds no more than a head of the journal."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from itertools import islice
from pathlib import Path

from compliance.crypto import Unauthentic
from compliance.journal.errors import NotReadable
from compliance.verify.errors import NotVerified
from compliance.verify.keyring import Keyring
from compliance.verify.leaf import Broken, frames, record_name, shard_name
from compliance.verify.merkle import Tree, inclusion_path
from compliance.verify.note import Note, notes, regular
from compliance.verify.receipt import ProvedRecord, Receipt, verify_receipt
from compliance.verify.statements import Head, head_parsed

__all__ = ["prove"]


def prove(
    directory: Path,
    keyring: Keyring,
    shard: int,
    sequence: int,
    given: str | None = None,
    *,
    progress: Callable[[int], None] = lambda _: None,
) -> bytes:
    """The record with its inclusion proof, under the last signed head of its shard or under the given head.

    The log is read up to the head: the nodes beside it are not trusted. What comes out was verified. `progress` hears
    how many bytes more were read. Raises NotReadable: record_unsigned; NotVerified.
    """
    note, head = _over(directory, keyring, shard, given)
    if sequence >= head.size:
        raise NotReadable("record_unsigned", f"{record_name(shard, sequence)} stands behind the head")
    place, code = (shard_name(shard), "head_signature") if given is None else ("head", "given_signature")
    try:
        certificate = keyring.certificate(keyring.signer_of(note), head.at)
    except Unauthentic:
        certificate = None
    if certificate is None:
        raise NotVerified.at(place, code)
    receipt = Receipt((_proved(directory, shard, sequence, head.size, progress),), note.written(), certificate).packed()
    verify_receipt(receipt, keyring.root, given)
    return receipt


def _over(directory: Path, keyring: Keyring, shard: int, given: str | None) -> tuple[Note, Head]:
    """The head of a shard that is given, or that a given joint head names, or else the last one."""
    wanted, found = None, None
    if given is not None:
        try:
            note = Note.parsed(given).first()
            head = head_parsed(note.text)
        except (Unauthentic, ValueError):
            raise NotVerified.at("head", "given_signature") from None
        if head.id != keyring.id:
            raise NotVerified.at("head", "given_foreign")
        wanted = head.by_shard().get(shard)
        if wanted is None:
            raise NotReadable("record_unsigned", f"the head says nothing of {shard_name(shard)}")
        if isinstance(head, Head):
            return note, head
    with suppress(FileNotFoundError, Broken, Unauthentic, ValueError):
        for text, _ in notes(directory / f"{shard_name(shard)}.heads", "head_truncated", "head_signature"):
            note = Note.parsed(text)
            head = Head.parsed(note.text)
            if wanted in (None, (head.size, head.root)):
                found = note, head
    if found is None:
        raise NotReadable("record_unsigned", f"no such head of {shard_name(shard)} is here")
    return found


def _proved(directory: Path, shard: int, sequence: int, size: int, progress: Callable[[int], None]) -> ProvedRecord:
    """The record with its path in the tree of `size` leaves, from one pass over the log."""
    nodes: dict[tuple[int, int], bytes] = {}

    def node(level: int, index: int) -> bytes:
        return nodes.setdefault((level, index), b"")

    inclusion_path(sequence, size, node)  # says which nodes it takes
    body, tree = b"", Tree()
    try:
        with regular(directory / f"{shard_name(shard)}.log") as log:
            length = log.seek(0, 2)
            log.seek(0)
            for number, (found, leaf, _) in enumerate(islice(frames(log.read, length, progress), size)):
                for level, made in enumerate(tree.append(leaf)):
                    if (level, number >> level) in nodes:
                        nodes[level, number >> level] = made
                if number == sequence:
                    body, hashed = found, leaf
    except FileNotFoundError:
        raise NotVerified.at(shard_name(shard), "shard_missing") from None
    except Broken as broken:
        raise NotVerified.at(record_name(shard, tree.size), broken.code) from None
    if tree.size < size:
        raise NotVerified.at(record_name(shard, tree.size), "record_missing")
    return ProvedRecord(shard, sequence, hashed, tuple(inclusion_path(sequence, size, node)), body)
