"""Journals of format 1 forged record by record with every key in hand: also those that no writer would write.

    forge = Forge()                          # certified for two days, with its first joint head
    shard = forge.shard()                    # shard-000 with its first head
    shard.epoch()
    call = shard.allowed("where is the ward?", subject="patient-7")
    shard.closed(call)
    shard.head()
    forge.joint()
    forge.write(tmp_path / "journal")        # or forge.files()
    verify_journal(tmp_path / "journal", forge.root.public)

All that is public stands in plain lists, `forge.certificates`, `forge.joints`, `shard.bodies` and `shard.heads`, so a
test alters it as a thief would: `shard.bodies[2] = altered(shard.bodies[2], PLACE, b"x")`, then `shard.resign(key)`.
Whoever takes records back goes on with `shard.epoch()`. Keys come from names, `signer("a thief")`, and stay the same.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec

from compliance.crypto import Opener, Sealer, Signer, fresh, sha256
from compliance.journal.records import (
    Closed,
    Metadata,
    Noted,
    Opened,
    contribution,
    epoch_info,
    seal_record,
    step,
    unmasked,
)
from compliance.verify.leaf import (
    ALLOWED,
    CLOSED,
    EPOCH,
    GAP,
    NOBODY,
    NOTED,
    REFUSED,
    Epoch,
    Gap,
    Leaf,
    Place,
    framed,
    record_name,
    shard_name,
)
from compliance.verify.merkle import Tree, inclusion_path, leaf_hash, position
from compliance.verify.note import DAY, ROOT, Note, signed
from compliance.verify.statements import Certificate, Genesis, Head, JointHead, Promise, Revocation, day_of
from policies.facts import Call, Finding, Outcome
from policies.payload import Payload

__all__ = [
    "FIRST_DAY",
    "MADE",
    "NEXT_DAY",
    "SECOND",
    "Forge",
    "ForgedShard",
    "altered",
    "log_of",
    "midnight",
    "nodes_of",
    "notes_file",
    "opener",
    "signer",
]

SECOND = 10**9
FIRST_DAY = date(2026, 11, 23)
NEXT_DAY = FIRST_DAY + timedelta(1)
MADE = date(2026, 11, 20)

# shard, sequence
Record = tuple[int, int]


def signer(name: str) -> Signer:
    return Signer(sha256(name.encode()))


def opener(name: str) -> Opener:
    return Opener(b"".join(sha256(name.encode(), bytes([part])) for part in range(3)))


def midnight(day: date) -> int:
    """The time at which a day begins in UTC, in nanoseconds since 1970."""
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) * SECOND


class Forge:
    """A journal with the keys of its root, its days and its auditors. `at` is its clock: each use moves it by a second.

    `contents` holds the metadata (JSON) and the payload (MessagePack) of each sealed record, `salts` the salts by row.
    """

    def __init__(self, name: str = "journal", *, root: str = "root", auditors: Sequence[str] = ("auditor",)) -> None:
        self.id = sha256(name.encode())[:16].hex()
        self.root = signer(root)
        self.auditors = [opener(auditor) for auditor in auditors]
        self.at = midnight(FIRST_DAY) + 12 * 3600 * SECOND
        self.genesis = signed(Genesis(self.id, self.root.public, f"{MADE}T12:00:00+00:00").text(), ROOT, self.root)
        self.certificates = [self.certificate(day) for day in (FIRST_DAY, NEXT_DAY)]
        self.shards: list[ForgedShard] = []
        self.joints: list[str] = []
        self.salts: dict[bytes, bytes] = {}
        self.contents: dict[Record, tuple[bytes, bytes]] = {}
        self.joint()

    def tick(self) -> int:
        self.at += SECOND
        return self.at

    def day_key(self, day: date) -> Signer:
        return signer(f"day {day} of {self.id}")

    def certificate(self, day: date, *, key: Signer | None = None, made: date = MADE) -> str:
        """The note that certifies a key for a day, its own unless another is given."""
        return self.by_root(Certificate(self.id, (key or self.day_key(day)).public, day, made).text())

    def revocation(self, key: Signer, since: int) -> str:
        return self.by_root(Revocation(self.id, key.public, since).text())

    def by_root(self, text: str) -> str:
        return signed(text, ROOT, self.root)

    def by_day(self, text: str, at: int, key: Signer | None = None) -> str:
        """A note signed with the key of the day of `at`, or with another."""
        return signed(text, DAY, key or self.day_key(day_of(at)))

    def shard(self) -> ForgedShard:
        """Begin the next shard, with its head over nothing."""
        shard = ForgedShard(self, len(self.shards))
        self.shards.append(shard)
        shard.head()
        return shard

    def joint(self, *, at: int | None = None, key: Signer | None = None, **changes: Any) -> str:
        """Sign the heads of all shards as their records stand. `changes` are fields of JointHead."""
        at = self.tick() if at is None else at
        lines = tuple((len(shard.bodies), shard.tree().root()) for shard in self.shards)
        note = self.by_day(replace(JointHead(self.id, at, lines), **changes).text(), at, key)
        self.joints.append(note)
        return note

    def promise(self, records: Iterable[Record], *, at: int | None = None, key: Signer | None = None) -> str:
        at = self.tick() if at is None else at
        leaves = tuple((record, leaf_hash(self.body(record))) for record in records)
        return self.by_day(Promise(self.id, at, leaves).text(), at, key)

    def receipt(self, records: Sequence[Record], statement: str, *, certificate: int = 0, bodies: bool = False) -> Any:
        """The receipt as an object of JSON. `statement` is a promise, or a head that the paths lead to."""
        return {
            "format": 1,
            "records": [self._proved(record, statement, bodies) for record in records],
            "statement": statement,
            "certificate": self.certificates[certificate],
        }

    def body(self, record: Record) -> bytes:
        return self.shards[record[0]].bodies[record[1]]

    def files(self) -> dict[str, bytes]:
        """The files of the journal by their names."""
        return {
            "journal.note": self.genesis.encode(),
            "certificates.notes": notes_file(self.certificates),
            "journal.heads": notes_file(self.joints),
            **{f"{shard_name(shard.number)}.log": log_of(shard.bodies) for shard in self.shards},
            **{f"{shard_name(shard.number)}.heads": notes_file(shard.heads) for shard in self.shards},
        }

    def write(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        for name, data in self.files().items():
            (folder / name).write_bytes(data)

    def salt(self, subject: str) -> tuple[bytes, bytes]:
        """The row and the salt of a subject."""
        row = sha256(f"row of {subject}".encode())[:16]
        return row, self.salts.setdefault(row, sha256(f"salt of {subject}".encode()))

    def _proved(self, record: Record, statement: str, body: bool) -> dict[str, Any]:
        found: dict[str, Any] = {
            "record": record_name(*record),
            "leaf": _base64(leaf_hash(self.body(record))),
            "path": [],
        }
        text = Note.parsed(statement).text
        if "/promise\n" not in text:
            nodes = nodes_of(self.shards[record[0]].bodies)
            size = Head.parsed(text).size
            path = inclusion_path(record[1], size, lambda level, index: nodes[position(level, index)])
            found["path"] = list(map(_base64, path))
        return found | ({"body": _base64(self.body(record))} if body else {})


class ForgedShard:
    """The records of one shard and its heads. What adds a record returns where it stands: shard, sequence.

    Counters of a head that the records do not show are fields here.
    """

    def __init__(self, forge: Forge, number: int) -> None:
        self.forge = forge
        self.number = number
        self.bodies: list[bytes] = []
        self.heads: list[str] = []
        self.destroyed = 0
        self.rules: Mapping[str, int] = {}
        self.usage: Mapping[str, int] = {}
        self._chain = b""

    def epoch(self, *, at: int | None = None, auditors: Sequence[Opener] | None = None) -> Record:
        """Open an epoch, sealed to the auditors of the journal unless others are given."""
        self._chain = fresh()
        place = self.place(EPOCH, epoch=self._epoch() + 1)
        info = epoch_info(place, bytes.fromhex(self.forge.id))
        auditors = self.forge.auditors if auditors is None else auditors
        sealed = tuple((sha256(a.public), Sealer(a.public).seal(self._chain, info)) for a in auditors)
        return self.public(place, Epoch(self.forge.tick() if at is None else at, fresh(16), sealed).packed())

    def gap(self, *, at: int | None = None, log_bytes: int = 7, head_bytes: int = 0, unsigned: int = 1) -> Record:
        content = Gap(self.forge.tick() if at is None else at, log_bytes, head_bytes, unsigned)
        return self.public(self.place(GAP), content.packed())

    def allowed(self, value: object = "where is the ward?", *, subject: str = "patient-7", **place: Any) -> Record:
        payload = msgspec.msgpack.encode(Payload.checked(value))
        return self.sealed(ALLOWED, self._opened(subject, allowed=True), payload, subject=subject, **place)

    def refused(self, *, subject: str = "patient-7", **place: Any) -> Record:
        return self.sealed(REFUSED, self._opened(subject, allowed=False), subject=subject, **place)

    def noted(
        self, kind: str = "read", data: dict[str, Any] | None = None, of: Record = NOBODY, **place: Any
    ) -> Record:
        return self.sealed(NOTED, Noted(at=self.forge.tick(), kind=kind, data=data or {}), of=of, **place)

    def closed(self, of: Record, **place: Any) -> Record:
        outcome = Outcome(ok=True, usage={"tokens": 12})
        metadata = Closed(at=self.forge.tick(), call=_call_id(of), outcome=outcome)
        return self.sealed(CLOSED, metadata, of=of, **place)

    def sealed(
        self,
        kind: int,
        metadata: Metadata,
        payload: bytes = b"",
        *,
        subject: str = "",
        of: Record = NOBODY,
        **place: Any,
    ) -> Record:
        """Seal a record under the chain key of its place. `place` are fields of Place that say something else."""
        journal = bytes.fromhex(self.forge.id)
        row, salt = self.forge.salt(subject)
        chain = self._chain or fresh()
        following = step(chain)
        at = self.place(kind, row=unmasked(row, following.mask), of_shard=of[0], of_sequence=of[1])._replace(**place)
        contributed = contribution(salt, journal, at.shard, at.sequence)
        encoded = msgspec.json.encode(metadata)
        body = seal_record(at, journal, chain, contributed, encoded, payload)
        self.forge.contents[self.number, len(self.bodies)] = encoded, payload
        self._chain = following.chain
        return self.add(body)

    def public(self, place: Place, content: bytes, commitments: bytes = bytes(64)) -> Record:
        """A record that is not sealed, such as one of a kind that nobody knows yet."""
        return self.add(place.packed() + commitments + content)

    def add(self, body: bytes) -> Record:
        self.bodies.append(body)
        return self.number, len(self.bodies) - 1

    def place(self, kind: int, **changes: Any) -> Place:
        """The place of the next record."""
        return Place(kind, self.number, len(self.bodies), self._epoch())._replace(**changes)

    def tree(self, size: int | None = None) -> Tree:
        tree = Tree()
        for body in self.bodies[:size]:
            tree.append(leaf_hash(body))
        return tree

    def head(self, *, at: int | None = None, key: Signer | None = None, **changes: Any) -> str:
        """Sign the records as they stand. `changes` are fields of Head that are to say something else."""
        at = self.forge.tick() if at is None else at
        note = self.forge.by_day(replace(self.stated(len(self.bodies), at), **changes).text(), at, key)
        self.heads.append(note)
        return note

    def stated(self, size: int, at: int) -> Head:
        """What the head over so many records says."""
        kinds = [body[1] for body in self.bodies[:size]]
        return Head(
            id=self.forge.id,
            shard=self.number,
            size=size,
            root=self.tree(size).root(),
            at=at,
            size_bytes=len(log_of(self.bodies[:size])),
            allowed=kinds.count(ALLOWED),
            refused=kinds.count(REFUSED),
            closed=kinds.count(CLOSED),
            destroyed=self.destroyed,
            rules=self.rules,
            usage=self.usage,
        )

    def resign(self, key: Signer | None = None, *, first: int = 0, at: int | None = None) -> None:
        """Sign the heads from `first` on anew over the records as they now stand, at their times or from `at` on."""
        for number, old in enumerate(map(_head, self.heads[first:])):
            when = old.at if at is None else at + number * SECOND
            new = replace(self.stated(old.size, when), destroyed=old.destroyed, rules=old.rules, usage=old.usage)
            self.heads[first + number] = self.forge.by_day(new.text(), when, key)

    def _epoch(self) -> int:
        return next((Leaf.parsed(body).epoch for body in reversed(self.bodies)), 0)

    def _opened(self, subject: str, *, allowed: bool) -> Opened:
        call = Call(
            id=_call_id((self.number, len(self.bodies))),
            at=self.forge.tick(),
            actor="clerk",
            tenant="clinic",
            action="infer",
            model="ab" * 32,
            purpose="search" if allowed else None,
            subject=sha256(subject.encode())[:16].hex(),
        )
        model = {"name": "minilm", "version": "1", "digest": "ab" * 32, "licence": "MIT"}
        against = () if allowed else (Finding(rule="base.purpose", ok=False, reason="No purpose was given."),)
        rules = ("base.licence", "base.purpose")
        return Opened(call=call, model=model, policy="cd" * 32, allowed=allowed, rules=rules, against=against)


def altered(body: bytes, offset: int, new: bytes) -> bytes:
    """The bytes with some of them replaced."""
    return body[:offset] + new + body[offset + len(new) :]


def log_of(bodies: Iterable[bytes]) -> bytes:
    """The bodies framed properly, so that the checks of the frames say nothing."""
    return b"".join(framed(body, leaf_hash(body)) for body in bodies)


def nodes_of(bodies: Iterable[bytes]) -> list[bytes]:
    """The nodes of the tree in the order in which they are stored."""
    tree = Tree()
    return [node for body in bodies for node in tree.append(leaf_hash(body))]


def notes_file(notes: Iterable[str]) -> bytes:
    return "".join(f"{note}\n" for note in notes).encode()


def _head(note: str) -> Head:
    return Head.parsed(Note.parsed(note).text)


def _call_id(record: Record) -> str:
    return sha256(record_name(*record).encode())[:8].hex()


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
