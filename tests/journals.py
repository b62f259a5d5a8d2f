"""Journals to test with: written as a box writes them, or forged record by record with every key in hand."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from compliance.crypto import Opener, Signer, fresh
from compliance.journal.genesis import create, identity
from compliance.journal.reader import Record, read
from compliance.journal.records import Closed, Opened
from compliance.journal.signing import Auditors, DayKeys
from compliance.journal.writer import Entry, Journal
from compliance.keys import read_key, write_key
from compliance.state.salts import Salts
from compliance.verify.journal import NotVerified, Verified, verify_journal
from compliance.verify.leaf import EPOCH, Broken, Leaf, read_frame
from compliance.verify.note import ROOT, Note, notes, signed
from compliance.verify.statements import Certificate, Head, day_of
from policies.facts import Call, Decision, Finding, Manifest, Outcome
from policies.payload import Payload

CHECKOUT = Path(__file__).resolve().parent.parent

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
    """What a box needs to keep a journal, and what its auditor needs to read it. The root's key lies beside it."""

    folder: Path

    @classmethod
    def make(cls, folder: Path, *, days: int = 2) -> JournalBox:
        """A box whose keys sign from today on."""
        box = cls(folder)
        root, opener, id_ = Signer.generate(), Opener.generate(), fresh(16).hex()
        for made in (box.auditors.folder, folder / "keys" / "days", folder / "state"):
            made.mkdir(parents=True)
        write_key(folder / "root.key", "journal-root", root.private_bytes())
        write_key(folder / "auditor.key", "auditor-private", opener.private_bytes())
        write_key(box.auditors.folder / "auditor.pub", "auditor-public", opener.public)
        now = time.time_ns()
        keys = DayKeys(folder / "keys" / "days", box.directory / "certificates.notes", id_, root.public)
        certificates = []
        for ahead in range(days):
            day = day_of(now) + timedelta(ahead)
            certificates.append(signed(Certificate(id_, keys.make(day), day, day_of(now)).text(), ROOT, root))
        first = next(path for path in keys.folder.iterdir() if path.name.startswith(str(day_of(now))))
        create(box.directory, root, Signer(read_key(first, "journal-signing")), certificates, id_, now)
        Salts.create(box.salts)
        return box

    @property
    def directory(self) -> Path:
        return self.folder / "journal"

    @property
    def salts(self) -> Path:
        return self.folder / "state" / "salts.sqlite"

    @property
    def root(self) -> Signer:
        return Signer(read_key(self.folder / "root.key", "journal-root"))

    @property
    def days(self) -> DayKeys:
        return DayKeys(self.folder / "keys" / "days", self.directory / "certificates.notes", self.id, self.root.public)

    @property
    def auditors(self) -> Auditors:
        return Auditors(self.folder / "keys" / "auditors")

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
        return identity(self.directory, self.root.public)

    def journal(self, *, durable: bool = False) -> Journal:
        return Journal(self.directory, self.days, self.auditors, self.salts, durable=durable)

    def verify(self, head: str | None = None) -> Verified:
        return verify_journal(self.directory, self.root.public, head=head)

    def failures(self) -> list[tuple[str, str]]:
        """What verification has against this journal, which must not hold."""
        return failures(self.directory, self.root.public)

    def read(self, opener: Opener | None = None) -> list[Record]:
        with closing(Salts(self.salts)) as salts:
            return list(read(self.directory, self.id, opener or self.opener, salts))


def failures(directory: Path, root: bytes) -> list[tuple[str, str]]:
    try:
        verify_journal(directory, root)
    except NotVerified as refusal:
        return [(failure.place, failure.code) for failure in refusal.failures]
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
        cwd=CHECKOUT,
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
            body, _, offset = read_frame(data, offset)
        except Broken:
            if torn:
                return
            raise
        yield body, offset


def leaves(log: Path, *, torn: bool = False) -> list[Leaf]:
    return [Leaf.parsed(body) for body, _ in records(log, torn=torn)]


def notes_of(path: Path) -> list[str]:
    """The signed notes in a file, each with the empty line behind it."""
    data = path.read_bytes()
    ends = [end for _, end in notes(path, "truncated", "malformed")]
    return [data[start:end].decode() for start, end in zip([0, *ends], ends, strict=False)]


def heads_of(path: Path) -> list[Head]:
    return [Head.parsed(Note.parsed(note[:-1]).text) for note in notes_of(path)]


def epoch_leaves(box: JournalBox) -> list[Leaf]:
    return [leaf for log in sorted(box.directory.glob("*.log")) for leaf in leaves(log) if leaf.kind == EPOCH]
