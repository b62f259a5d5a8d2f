"""Whatever is done to a journal, in whatever order: what was erased nobody reads, what is held the auditor does.

And at every moment the log is consistent with all heads that ever left the box, and keeps all that it promised.
"""

from __future__ import annotations

import shutil
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from msgspec import structs

from compliance.crypto import Opener, Signer
from compliance.journal import erasure
from compliance.journal.joint import JOINT
from compliance.journal.reader import Record
from compliance.journal.receipts import Written
from compliance.journal.records import Opened
from compliance.journal.writer import Journal
from compliance.keys import write_key
from compliance.state.disposition import Disposition, Scope
from compliance.state.errors import HoldError
from compliance.verify.receipt import Receipt, check_promise, verify_receipt
from compliance.verify.statements import Promise
from policies.payload import Payload
from tests.journals import DONE, MODEL, NO, YES, JournalBox, a_call, notes_of

SUBJECTS = st.sampled_from(["ann", "bob", "cy"])
TENANT = "clinic"
MONTHS_AGO = 100 * 86_400 * 10**9


@dataclass
class Made:
    """A call, and what has to be true of its records."""

    id: str
    written: tuple[Written, ...]
    subject: str | None
    old: bool
    erased: bool = False


class Life(RuleBasedStateMachine):
    @initialize()
    def begin(self) -> None:
        self.folder = Path(mkdtemp())
        self.box = JournalBox.make(self.folder / "box")
        self.openers: list[Opener] = [self.box.opener]
        self.journal: Journal = self.box.journal()
        self.calls: list[Made] = []
        self.heads: list[str] = []
        self.receipts: list[bytes] = []
        self.holds: dict[str, str] = {}

    def teardown(self) -> None:
        if hasattr(self, "box"):
            self.journal.close()
            shutil.rmtree(self.folder)

    @rule(subject=st.none() | SUBJECTS, old=st.booleans(), text=st.text(max_size=50), outcome=st.booleans())
    def call(self, subject: str | None, old: bool, text: str, outcome: bool) -> None:
        call = a_call(self.journal, subject=subject)
        if old:
            call = structs.replace(call, at=call.at - MONTHS_AGO)
        entry = self.journal.opened(call, MODEL, YES, Payload.checked({"text": text}))
        written = self.journal.closed(entry, DONE) if outcome else (entry.written,)
        self.receipts.append(self.journal.receipt(written))
        self.calls.append(Made(call.id, written, subject, old))

    @rule()
    def refuse(self) -> None:
        entry = self.journal.opened(a_call(self.journal, purpose=None), MODEL, NO, Payload(value=None))
        self.receipts.append(self.journal.receipt((entry.written,)))

    @rule()
    def let_a_head_leave(self) -> None:
        self.journal.checkpoint()
        self.heads.append(notes_of(self.box.directory / JOINT)[-1][:-1])

    @rule(subject=SUBJECTS)
    def erase(self, subject: str) -> None:
        with Disposition.open(self.box.salts) as disposition:
            if subject in self.holds and self._rows(subject):
                with pytest.raises(HoldError):
                    erasure.erase(self.journal, disposition, TENANT, subject, "asked")
                return
            self.receipts.append(erasure.erase(self.journal, disposition, TENANT, subject, "asked").receipt)
        for made in self.calls:
            made.erased |= made.subject == subject

    @rule(subject=SUBJECTS)
    def hold(self, subject: str) -> None:
        if subject not in self.holds:
            with Disposition.open(self.box.salts) as disposition:
                scope = Scope(subject=subject)
                self.holds[subject], _ = erasure.hold(self.journal, disposition, TENANT, scope, "a lawsuit")

    @rule(subject=SUBJECTS)
    def lift(self, subject: str) -> None:
        if subject in self.holds:
            with Disposition.open(self.box.salts) as disposition:
                erasure.release(self.journal, disposition, TENANT, self.holds.pop(subject))

    @rule()
    def retain(self) -> None:
        """What is of this month stays; what is old goes, unless it is held."""
        with Disposition.open(self.box.salts) as disposition:
            erasure.retain(self.journal, disposition, TENANT, {"search": 20}, None)
        for made in self.calls:
            made.erased |= made.old and made.subject not in self.holds

    @precondition(lambda self: len(self.openers) < 3)
    @rule()
    def change_the_auditors(self) -> None:
        """Another one joins; from the next epoch on everything is sealed to both."""
        opener = Opener.generate()
        write_key(self.box.auditors.folder / f"{len(self.openers)}.pub", "auditor-public", opener.public)
        self.openers.append(opener)
        self.start_again()

    @rule()
    def start_again(self) -> None:
        self.journal.close()
        self.journal = self.box.journal()

    @precondition(lambda self: self.journal._shard is not None)
    @rule()
    def die(self) -> None:
        """As with kill -9: what was written is there, and nothing is signed any more."""
        with self.journal._writing:
            self.journal._let_go()
        self.journal.close()
        self.journal = self.box.journal()

    @invariant()
    def all_holds(self) -> None:
        if not hasattr(self, "box"):
            return
        for head in (None, *self.heads[-3:]):
            self.box.verify(head)
        records = {record.record: record for record in self.box.read()}
        for made in self.calls:
            for one in made.written:
                self._check(made, records[f"shard-{one.shard:03d}/{one.sequence}"])

    def _check(self, made: Made, record: Record) -> None:
        if made.erased:
            assert (record.unread, record.metadata, record.payload) == ("erased", None, None)
        elif isinstance(record.metadata, Opened):
            assert record.metadata.call.id == made.id
            assert made.subject is None or record.metadata.call.subject != made.subject
        else:
            assert record.metadata is not None

    @precondition(lambda self: self.receipts)
    @rule(which=st.integers(0, 2**31))
    def look_at_a_receipt(self, which: int) -> None:
        root = self.box.root.public
        old = verify_receipt(self.receipts[which % len(self.receipts)], root)
        if isinstance(old.statement, Promise):
            check_promise(self.box.directory, old)
        self.journal.now()
        self.journal.checkpoint()
        redeemed = self.journal.redeemed([(one.shard, one.sequence) for one in old.records])
        proved: Receipt = verify_receipt(redeemed, root)
        assert [one.leaf for one in proved.records] == [one.leaf for one in old.records]

    def _rows(self, subject: str) -> bool:
        with closing(self.box.journal()._salts) as salts:
            return bool(salts.rows_of(TENANT, subject))


Life.TestCase.settings = settings(
    max_examples=40, stateful_step_count=15, deadline=None, suppress_health_check=list(HealthCheck)
)
TestLife = Life.TestCase


def test_no_key_but_those_of_the_auditors_reads_anything(tmp_path: Path) -> None:
    """The box holds keys for signing only: none of them is an auditor's."""
    box = JournalBox.make(tmp_path / "box")
    private = [path for path in (box.folder / "keys").rglob("*") if path.suffix == ".key"]
    assert private
    assert all(b'"journal-signing"' in path.read_bytes() for path in private)
    assert isinstance(box.root, Signer)
