"""Single records are released to the auditor who asks for them: sealed, on record, all or nothing, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest

from compliance.crypto import Opener, Unauthentic
from compliance.journal.erasure import erase
from compliance.journal.errors import NotReadable
from compliance.journal.reader import Walk, read
from compliance.journal.records import Noted
from compliance.journal.release import Request, contributions, kinds, release, requested
from compliance.journal.writer import Journal
from compliance.keys import write_key
from compliance.state.disposition import Disposition
from compliance.state.salts import Salts
from policies.payload import Payload
from tests.journals import DONE, JournalBox, opened, refused

TENANT = "clinic"


@dataclass
class Open:
    """A box that runs: a call about patient-1 (records 1 and 2), one about patient-2 (3), one that was refused (4)."""

    box: JournalBox
    journal: Journal
    salts: Salts

    def walk(self, auditor: Opener | None = None) -> Walk:
        return Walk(self.box.directory, self.box.id, auditor or self.box.opener)

    def ask(self, *names: str) -> Request:
        return requested(self.walk(), names)

    def release(self, asked: Request) -> bytes:
        return release(self.journal, self.salts, asked, self.box.auditors, TENANT)

    def told(self) -> list[dict[str, Any]]:
        """What the journal tells of releases."""
        notes = [record.metadata for record in self.box.read()]
        return [note.data for note in notes if isinstance(note, Noted) and note.kind == "released"]

    def erase(self, subject: str) -> list[str]:
        """Erase, and return the records that the erasure could not reach."""
        with Disposition.open(self.box.salts) as disposition:
            done = erase(self.journal, disposition, TENANT, subject, "asked for")
        return [one.record for one in done.erased.releases]


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Open]:
    box = JournalBox.make(tmp_path / "box")
    with closing(box.journal()) as journal, closing(Salts(box.salts)) as salts:
        journal.closed(opened(journal, "one", subject="patient-1"), DONE)
        opened(journal, "two", subject="patient-2")
        refused(journal)
        yield Open(box, journal, salts)


def code_of(refusal: pytest.ExceptionInfo[NotReadable]) -> str:
    return refusal.value.code


def test_what_is_released_is_read_without_the_salts_and_nothing_else(running: Open) -> None:
    released = running.release(running.ask("shard-000/1", "shard-000/4"))
    running.journal.close()
    running.box.salts.unlink()
    given = contributions(released, running.box.opener, running.box.id)
    records = list(read(running.box.directory, running.box.id, running.box.opener, given))
    assert [record.record for record in records if record.unread is None] == ["shard-000/1", "shard-000/4"]
    assert records[0].payload == Payload(value="one")
    assert {record.unread for record in records} == {None, "not_released"}


def test_each_release_is_a_signed_leaf_before_it_leaves(running: Open) -> None:
    asked = running.ask("shard-000/2", "shard-000/1")
    running.release(asked)
    auditor = running.box.opener.fingerprint.hex()
    assert running.told() == [{"record": f"shard-000/{number}", "auditor": auditor} for number in (1, 2)]
    assert running.box.verify().unsealed == 0


def test_nothing_of_it_lies_in_the_open(running: Open) -> None:
    asked = running.ask("shard-000/1")
    released = running.release(asked)
    salt = running.salts.salt(asked.records[0].row)
    assert salt is not None
    given = contributions(released, running.box.opener, running.box.id)
    for secret in (salt, *given.values()):
        assert secret not in released
        assert msgspec.json.encode(secret)[1:-1] not in released


def test_an_erasure_names_what_was_released_before(running: Open) -> None:
    running.release(running.ask("shard-000/1"))
    assert running.erase("patient-1") == ["shard-000/1"]
    assert running.erase("patient-2") == []


def test_what_was_erased_is_not_released_and_nothing_that_was_asked_with_it(running: Open) -> None:
    asked = running.ask("shard-000/3", "shard-000/1")
    running.erase("patient-1")
    with pytest.raises(NotReadable) as refusal:
        running.release(asked)
    assert code_of(refusal) == "record_erased"
    assert running.told() == []
    assert running.erase("patient-2") == []


def test_a_request_that_names_another_row_gets_what_opens_nothing(running: Open) -> None:
    first, second = running.ask("shard-000/1"), running.ask("shard-000/3")
    mixed = msgspec.structs.replace(
        first, records=(msgspec.structs.replace(first.records[0], row=second.records[0].row),)
    )
    given = contributions(running.release(mixed), running.box.opener, running.box.id)
    with pytest.raises(NotReadable) as refusal:
        list(read(running.box.directory, running.box.id, running.box.opener, given))
    assert code_of(refusal) == "record_altered"


def test_only_an_auditor_of_this_journal_is_answered(running: Open) -> None:
    asked = running.ask("shard-000/1")
    stranger = msgspec.structs.replace(asked, auditor="ab" * 32)
    elsewhere = msgspec.structs.replace(asked, journal="ab" * 16)
    for foreign in (stranger, elsewhere):
        with pytest.raises(NotReadable) as refusal:
            running.release(foreign)
        assert code_of(refusal) == "release_foreign"
    assert running.told() == []


def test_one_auditor_cannot_use_what_was_released_to_another(running: Open) -> None:
    other = Opener.generate()
    write_key(running.box.auditors.folder / "other.pub", "auditor-public", other.public)
    released = running.release(running.ask("shard-000/1"))
    with pytest.raises(NotReadable) as refusal:
        contributions(released, other, running.box.id)
    assert code_of(refusal) == "release_foreign"
    readdressed = {**json.loads(released), "auditor": other.fingerprint.hex()}
    with pytest.raises(Unauthentic):
        contributions(json.dumps(readdressed).encode(), other, running.box.id)


def test_a_release_is_bound_to_its_journal_and_its_records(running: Open) -> None:
    value = json.loads(running.release(running.ask("shard-000/1")))
    with pytest.raises(NotReadable) as refusal:
        contributions(json.dumps(value).encode(), running.box.opener, "ab" * 16)
    assert code_of(refusal) == "release_foreign"
    for changed in ({"records": ["shard-000/2"]}, {"sealed": value["sealed"][:-8] + "AAAAAAA="}):
        with pytest.raises(Unauthentic):
            contributions(json.dumps(value | changed).encode(), running.box.opener, running.box.id)


@pytest.mark.parametrize("name", ["shard-000/0", "shard-000/99", "shard-001/0", "shard-0/1", "1", "../x", ""])
def test_a_record_that_does_not_exist_or_holds_nothing_is_not_asked_for(running: Open, name: str) -> None:
    with pytest.raises(NotReadable) as refusal:
        running.ask(name)
    assert code_of(refusal) == "record_unknown"
    forged = running.ask("shard-000/1")
    forged = msgspec.structs.replace(forged, records=(msgspec.structs.replace(forged.records[0], record=name),))
    with pytest.raises(NotReadable) as refusal:
        running.release(forged)
    assert code_of(refusal) == "record_unknown"
    assert running.told() == []


def test_what_is_sealed_to_other_auditors_only_cannot_be_asked_for(running: Open) -> None:
    other = Opener.generate()
    write_key(running.box.auditors.folder / "other.pub", "auditor-public", other.public)
    running.journal.close()
    opened(running.journal, "three")
    with pytest.raises(NotReadable) as refusal:
        requested(running.walk(other), ["shard-000/1"])
    assert code_of(refusal) == "epoch_sealed"


def test_the_box_tells_the_kinds_of_what_is_asked_for(running: Open) -> None:
    asked = running.ask("shard-000/1", "shard-000/2", "shard-000/4")
    assert kinds(running.box.directory, asked) == {
        "shard-000/1": "allowed",
        "shard-000/2": "closed",
        "shard-000/4": "refused",
    }


def a_request() -> dict[str, Any]:
    row = "AAECAwQFBgcICQoLDA0ODw=="
    return {
        "format": 1,
        "journal": "ab" * 16,
        "auditor": "cd" * 32,
        "records": [{"record": "shard-000/1", "row": row}, {"record": "shard-000/2", "row": row}],
    }


def test_a_request_is_read_as_it_was_written() -> None:
    found = Request.parsed(json.dumps(a_request()).encode())
    assert found.records[1].row == bytes(range(16))
    assert json.loads(found.packed()) == a_request()


@pytest.mark.parametrize(
    "changed",
    [
        {"format": 2},
        {"format": "1"},
        {"journal": "AB" * 16},
        {"journal": "ab" * 17},
        {"auditor": "cd" * 31},
        {"records": []},
        {"records": a_request()["records"] * 2},
        {"records": [{"record": "shard-000/1", "row": "AAEC"}]},
        {"records": [{"record": "shard-000/1"}]},
        {"records": [{"record": f"shard-000/{i}", "row": "AAECAwQFBgcICQoLDA0ODw=="} for i in range(1001)]},
        {"more": 1},
        {"records": None},
    ],
)
def test_a_request_of_another_form_is_refused(changed: dict[str, Any]) -> None:
    with pytest.raises(NotReadable) as refusal:
        Request.parsed(json.dumps(a_request() | changed).encode())
    assert code_of(refusal) == "release_malformed"


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"\xff\xfe", b'"' + b"x" * 2_000_000 + b'"', b"[" * 100_000])
def test_bytes_that_are_no_file_of_ours_are_refused(data: bytes) -> None:
    opener = Opener.generate()
    for parse in (Request.parsed, lambda given: contributions(given, opener, "ab" * 16)):
        with pytest.raises(NotReadable) as refusal:
            parse(data)
        assert code_of(refusal) == "release_malformed"
