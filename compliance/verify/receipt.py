"""Receipts and proofs, which show without the journal that a record was written (docs/formats.md)."""

from __future__ import annotations

import base64
import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice, zip_longest
from pathlib import Path
from typing import Any

from compliance.crypto import Unauthentic
from compliance.verify.errors import NotVerified
from compliance.verify.keyring import certified
from compliance.verify.leaf import HEADER, PLACED, Broken, frames, record_name, shard_name
from compliance.verify.merkle import check_inclusion, leaf_hash
from compliance.verify.note import DAY, Note, regular
from compliance.verify.statements import Certificate, Head, Promise, day_of, head_parsed, record_parsed

__all__ = ["MAX_RECEIPT", "ProvedRecord", "Receipt", "check_promise", "verify_receipt"]

MAX_RECEIPT = 200_000_000  # bytes
MAX_RECORDS = 1000
_JSON = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))  # for every call that is served


@dataclass(frozen=True)
class ProvedRecord:
    """A record by its leaf hash, the path from there to the root under a head, and the body where it is shown."""

    shard: int
    sequence: int
    leaf: bytes
    path: tuple[bytes, ...] = ()
    body: bytes | None = None

    @property
    def name(self) -> str:
        return record_name(self.shard, self.sequence)


@dataclass(frozen=True)
class Receipt:
    """What is handed out: records, what the box stated on them in a note, and the note that lets its key do so."""

    records: tuple[ProvedRecord, ...]
    note: str
    certificate: str

    @property
    def statement(self) -> Head | Promise:
        """Raises Unauthentic, ValueError."""
        note = Note.parsed(self.note)
        if len(note.signatures) != 1:
            raise ValueError("more than one signature")
        kind = Promise if note.text.partition("\n")[0].endswith("/promise") else Head
        return kind.parsed(note.text)

    def packed(self) -> bytes:
        records = []
        for record in self.records:
            found = {"record": record.name, "leaf": _text(record.leaf), "path": list(map(_text, record.path))}
            records.append(found if record.body is None else found | {"body": _text(record.body)})
        value = {"format": 1, "records": records, "statement": self.note, "certificate": self.certificate}
        return _JSON.encode(value).encode()

    @classmethod
    def parsed(cls, data: bytes) -> Receipt:
        """Raises NotVerified: receipt_malformed."""
        try:
            if len(data) > MAX_RECEIPT:
                raise ValueError("too large")
            value = json.loads(data.decode(), object_pairs_hook=_object)
            _members(value, {"format", "records", "statement", "certificate"}, set())
            records = _list(value["records"])
            if type(value["format"]) is not int or value["format"] != 1 or not 1 <= len(records) <= MAX_RECORDS:
                raise ValueError("no receipt of format 1")
            found = cls(tuple(map(_record, records)), _string(value["statement"]), _string(value["certificate"]))
            if isinstance(found.statement, Promise) and any(record.path for record in found.records):
                raise ValueError("a promise has no paths")
        except (ValueError, RecursionError, Unauthentic):
            raise NotVerified.at("receipt", "receipt_malformed") from None
        return found


def verify_receipt(data: bytes, root: bytes, head: str | None = None) -> Receipt:
    """Check a receipt or a proof against the public key of the journal's root (32 bytes).

    `head` is a head of the shard or a joint head that is known to be good, to which the receipt must lead. Raises
    NotVerified: given_foreign and what begins with receipt_. A promise says only what the box owes: `check_promise`.
    """
    receipt = Receipt.parsed(data)
    statement = receipt.statement
    try:
        certificate = certified(receipt.certificate, statement.id, root)
    except Broken:
        raise NotVerified.at("certificate", "receipt_certificate") from None
    if not isinstance(certificate, Certificate) or certificate.day != day_of(statement.at):
        raise NotVerified.at("certificate", "receipt_certificate")
    try:
        Note.parsed(receipt.note).check(DAY, certificate.key)
    except Unauthentic:
        raise NotVerified.at("statement", "receipt_signature") from None
    _check_leaves(receipt.records, statement)
    if isinstance(statement, Head):
        _check_paths(receipt.records, statement)
    if head is not None:
        _check_given(head, statement)
    return receipt


def check_promise(directory: Path, receipt: Receipt) -> None:
    """Return when the promised records stand in this journal. Raises NotVerified: promise_broken.

    This verifies neither the journal nor that it is the one that promised.
    """
    wanted: defaultdict[int, set[int]] = defaultdict(set)
    for record in receipt.records:
        wanted[record.shard].add(record.sequence)
    found = {(shard, at): leaf for shard in wanted for at, leaf in _leaves(directory, shard, wanted[shard])}
    for record in receipt.records:
        if found.get((record.shard, record.sequence)) != record.leaf:
            raise NotVerified.at(record.name, "promise_broken")


def _leaves(directory: Path, shard: int, sequences: set[int]) -> Iterator[tuple[int, bytes]]:
    """The leaf hashes of these records, as far as the log can be read."""
    with suppress(FileNotFoundError, Broken), regular(directory / f"{shard_name(shard)}.log") as log:
        size = log.seek(0, 2)
        log.seek(0)
        for sequence, (_, leaf, _) in enumerate(islice(frames(log.read, size), max(sequences) + 1)):
            if sequence in sequences:
                yield sequence, leaf


def _check_leaves(records: Sequence[ProvedRecord], statement: Head | Promise) -> None:
    promised = statement.leaves if isinstance(statement, Promise) else ()
    for record, promise in zip_longest(records, promised[: len(records)]):
        if isinstance(statement, Promise) and promise != ((record.shard, record.sequence), record.leaf):
            raise NotVerified.at(record.name, "receipt_leaf")
        if record.body is not None and not _is_of(record.body, record):
            raise NotVerified.at(record.name, "receipt_leaf")
    if len(promised) > len(records):
        raise NotVerified.at("statement", "receipt_leaf")


def _is_of(body: bytes, record: ProvedRecord) -> bool:
    """Whether the body is that of the leaf, and says that it stands where the record does."""
    if len(body) < HEADER or leaf_hash(body) != record.leaf:
        return False
    _, _, shard, sequence, *_ = PLACED.unpack_from(body)
    return (shard, sequence) == (record.shard, record.sequence)


def _check_paths(records: Sequence[ProvedRecord], head: Head) -> None:
    for record in records:
        try:
            if record.shard != head.shard:
                raise Unauthentic("proof", "the record stands in another shard")
            check_inclusion(record.leaf, record.sequence, head.size, record.path, head.root)
        except Unauthentic:
            raise NotVerified.at(record.name, "receipt_path") from None


def _check_given(text: str, statement: Head | Promise) -> None:
    try:
        given = head_parsed(Note.parsed(text).text)
    except (Unauthentic, ValueError):
        raise NotVerified.at("head", "receipt_head") from None
    if given.id != statement.id:
        raise NotVerified.at("head", "given_foreign")
    if isinstance(statement, Promise) or given.by_shard().get(statement.shard) != (statement.size, statement.root):
        raise NotVerified.at("head", "receipt_head")


def _object(members: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(members)
    # readers differ in which one of two they take
    if len(found) != len(members):
        raise ValueError("a member stands there twice")
    return found


def _members(value: Any, required: set[str], optional: set[str]) -> None:
    if not isinstance(value, dict) or not required <= set(value) <= required | optional:
        raise ValueError("other members")


def _record(value: Any) -> ProvedRecord:
    _members(value, {"record", "leaf", "path"}, {"body"})
    shard, sequence = record_parsed(_string(value["record"]))
    leaf, *path = map(_bytes, (value["leaf"], *_list(value["path"])))
    if {len(leaf), *map(len, path)} != {32}:
        raise ValueError("no hash")
    body = _bytes(value["body"]) if "body" in value else None
    return ProvedRecord(shard, sequence, leaf, tuple(path), body)


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise ValueError("no list")
    return value


def _string(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("no string")
    return value


def _bytes(value: Any) -> bytes:
    text = _string(value)
    found = base64.b64decode(text, validate=True)
    if _text(found) != text:
        raise ValueError("not in its one spelling")
    return found


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()
