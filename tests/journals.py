"""Journals to test with: written as a box writes them, or forged record by record with every key in hand."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from compliance.crypto import Opener, Sealer, Signer, fresh
from compliance.journal.reader import Record, read
from compliance.journal.records import Closed, Opened
from compliance.journal.writer import Entry, Journal, create
from compliance.keys import read_key, write_key
from compliance.state.salts import Salts
from compliance.verify.journal import NotVerified, Verified, genesis, verify_journal
from compliance.verify.leaf import ALLOWED, EPOCH, REFUSED, Broken, Leaf, framed, unframed
from compliance.verify.merkle import Tree, leaf_hash
from compliance.verify.note import Head, signed
from policies.facts import Call, Decision, Finding, Manifest, Outcome
from policies.payload import Payload

ROOT = Path(__file__).resolve().parent.parent

MODEL = Manifest(
    format=1, name="minilm", version="1", digest="ab" * 32, task="embed", licence="MIT", inputs=(), outputs=()
)
FINE = Finding(rule="base.licence", ok=True, reason="The licence allows it.")
AGAINST = Finding(rule="base.purpose", ok=False, reason="No purpose was given.")
YES = Decision(allowed=True, findings=(FINE,), policy="cd" * 32)
NO = Decision(allowed=False, findings=(FINE, AGAINST), policy="cd" * 32)
DONE = Outcome(ok=True, usage={"texts": 1})


# how a script begins that is given a box as its first argument
OPENING = """
import os, sys
from pathlib import Path
from tests.journals import *
box = JournalBox(Path(sys.argv[1]))
journal = box.journal()
"""


@dataclass(frozen=True)
class JournalBox:
    """What a box needs to keep a journal, and what its auditor needs to read it."""

    folder: Path

    @classmethod
    def make(cls, folder: Path, *, signer: Signer | None = None) -> JournalBox:
        box = cls(folder)
        (folder / "keys").mkdir(parents=True)
        opener = Opener.generate()
        signer = signer or Signer.generate()
        write_key(folder / "keys" / "journal.key", "journal-signing", signer.private_bytes())
        write_key(folder / "keys" / "auditor.pub", "auditor-public", opener.public)
        write_key(folder / "auditor.key", "auditor-private", opener.private_bytes())
        create(box.directory, signer, box.salts)
        return box

    @property
    def directory(self) -> Path:
        return self.folder / "journal"

    @property
    def salts(self) -> Path:
        return self.folder / "state" / "salts.sqlite"

    @property
    def signer(self) -> Signer:
        return Signer(read_key(self.folder / "keys" / "journal.key", "journal-signing"))

    @property
    def opener(self) -> Opener:
        return Opener(read_key(self.folder / "auditor.key", "auditor-private"))

    @property
    def log(self) -> Path:
        return self.directory / "shard-000.log"

    @property
    def heads(self) -> Path:
        return self.directory / "shard-000.heads"

    @property
    def id(self) -> str:
        return genesis(self.directory, self.signer.public)

    def journal(self) -> Journal:
        sealer = Sealer(read_key(self.folder / "keys" / "auditor.pub", "auditor-public"))
        return Journal(self.directory, self.signer, sealer, self.salts)

    def verify(self) -> Verified:
        return verify_journal(self.directory, self.signer.public)

    def failures(self) -> list[tuple[str, str]]:
        """What verification has against this journal, which must not hold."""
        return failures(self.directory, self.signer.public)

    def read(self, opener: Opener | None = None) -> list[Record]:
        salts = Salts(self.salts)
        try:
            return list(read(self.directory, self.id, opener or self.opener, salts))
        finally:
            salts.close()


def failures(directory: Path, public: bytes) -> list[tuple[str, str]]:
    try:
        verify_journal(directory, public)
    except NotVerified as refusal:
        return [(failure.record, failure.code) for failure in refusal.failures]
    raise AssertionError("the journal holds")


def a_call(journal: Journal, *, subject: str | None = None, purpose: str | None = "search") -> Call:
    return Call(
        id=fresh(8).hex(),
        at=journal.now(),
        actor="clerk",
        tenant="clinic",
        action="infer",
        model=MODEL.digest,
        purpose=purpose,
        subject=subject,
    )


def opened(journal: Journal, value: object = "where is the ward?", *, subject: str | None = None) -> Entry:
    return journal.opened(a_call(journal, subject=subject), MODEL, YES, Payload.checked(value))


def refused(journal: Journal) -> Entry:
    return journal.opened(a_call(journal, purpose=None), MODEL, NO, Payload(value=None))


def whole_call(journal: Journal, value: object = "where is the ward?") -> str:
    """The id of a call that was allowed and has ended."""
    entry = opened(journal, value)
    journal.closed(entry, DONE)
    return entry.call.id


def call_ids(records: Iterable[Record]) -> tuple[set[str], set[str]]:
    """The ids of the calls that were opened, and of those that were closed."""
    found = list(records)
    begun = {record.metadata.call.id for record in found if isinstance(record.metadata, Opened)}
    return begun, {record.metadata.call for record in found if isinstance(record.metadata, Closed)}


def script(source: str, *arguments: Path) -> subprocess.Popen[str]:
    """Start Python in a process of its own, where every warning is an error; its output is a pipe of text."""
    return subprocess.Popen(
        # -B: a script that limits its disk must not leave a compiled module that was cut short
        [sys.executable, "-B", "-W", "error", "-c", source, *map(str, arguments)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(process: subprocess.Popen[str]) -> str:
    """What a script printed. It must end by itself within a minute, without an error."""
    out, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (0, ""), errors
    return out


def bodies(log: Path) -> list[bytes]:
    return [body for body, _ in records(log)]


def records(log: Path, *, torn: bool = False) -> Iterator[tuple[bytes, int]]:
    """Every body in a log, and where its record ends; the log may end within a record if it is torn."""
    data, offset = memoryview(log.read_bytes()), 0
    while offset < len(data):
        try:
            body, offset = unframed(data, offset)
        except Broken:
            if torn:
                return
            raise
        yield body, offset


def leaves(log: Path, *, torn: bool = False) -> list[Leaf]:
    return [Leaf.parsed(body) for body, _ in records(log, torn=torn)]


def write_log(log: Path, parts: Iterable[bytes]) -> None:
    """Frame the bodies properly, so that the check sums say nothing."""
    log.write_bytes(b"".join(map(framed, parts)))


def notes_of(heads: Path) -> list[str]:
    """The signed notes in a file of heads, each with the empty line behind it."""
    lines = heads.read_text("utf-8").splitlines(keepends=True)
    return ["".join(lines[i : i + 8]) for i in range(0, len(lines), 8)]


def forged_heads(
    box: JournalBox, sizes: Iterable[int], *, at: int = 1, counters: dict[str, object] | None = None
) -> None:
    """Sign heads over the log as it stands, as a thief of the signing key would."""
    signer, origin, tree, notes = box.signer, f"{box.id}/shard-000", Tree(), []
    counted, wanted = {"allowed": 0, "refused": 0}, list(sizes)
    for body in [b"", *bodies(box.log)]:
        if body:
            kind = body[1]
            counted["allowed"] += kind == ALLOWED
            counted["refused"] += kind == REFUSED
            tree.append(leaf_hash(body))
        if tree.size in wanted:
            text = json.dumps(counters or {**counted, "rules": {}}, separators=(",", ":"))
            notes.append(signed(Head(origin, tree.size, tree.root(), at, text).text(), signer) + "\n")
    box.heads.write_text("".join(notes), "utf-8")


def epoch_leaves(box: JournalBox) -> list[Leaf]:
    return [leaf for log in sorted(box.directory.glob("*.log")) for leaf in leaves(log) if leaf.place.kind == EPOCH]
