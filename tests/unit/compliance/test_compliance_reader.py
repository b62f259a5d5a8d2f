"""What the auditor reads is what was written, with the right key and the salts, and nothing without either."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from compliance.crypto import Opener
from compliance.journal.errors import NotReadable
from compliance.journal.reader import Record, read
from compliance.journal.records import Closed, Noted, Opened
from compliance.state.salts import Salts, StateError
from policies.facts import Outcome
from policies.payload import Payload
from tests.journals import DONE, FINE, MODEL, NO, YES, JournalBox, a_call, bodies, leaves, opened, whole_call, write_log


@pytest.fixture
def book(tmp_path: Path) -> JournalBox:
    """A box with an empty journal."""
    return JournalBox.make(tmp_path / "box")


def test_every_record_is_read_as_it_was_written(book: JournalBox) -> None:
    journal = book.journal()
    about = {"manifest": {"name": "minilm", "\u00fc": [1, 2.5, None]}}
    journal.loaded("clinic", about)
    asked, refused = a_call(journal, subject="patient-7"), a_call(journal, purpose=None)
    payload = Payload.checked(
        {"texts": ["where is the ward? \u2603", ""], "n": [0, -1.5, True, None]}, {"t": b"\0\xff"}
    )
    entry = journal.opened(asked, MODEL, YES, payload)
    journal.opened(refused, MODEL, NO, Payload(value=None))
    journal.noted(entry, "chunk", {"tokens": 3})
    journal.closed(entry, Outcome(ok=False, code="memory", usage={"texts": 2}))
    journal.close()

    loaded, first, second, note, end = book.read()
    model = {"name": MODEL.name, "version": MODEL.version, "digest": MODEL.digest, "licence": MODEL.licence}
    assert isinstance(loaded.metadata, Noted)
    assert (loaded.metadata.kind, loaded.metadata.data) == ("loaded", about)
    assert first == Record(
        record="shard-000/2",
        metadata=Opened(call=asked, model=model, policy=YES.policy, allowed=True, rules=(FINE.rule,), against=()),
        payload=payload,
    )
    assert isinstance(second.metadata, Opened)
    assert (second.payload, second.metadata.call, second.metadata.allowed) == (None, refused, False)
    assert second.metadata.rules == tuple(finding.rule for finding in NO.findings)
    assert second.metadata.against == NO.findings[1:]
    assert isinstance(note.metadata, Noted)
    assert (note.metadata.kind, note.metadata.data) == ("chunk", {"tokens": 3})
    assert isinstance(end.metadata, Closed)
    assert end.metadata.call == asked.id
    assert end.metadata.outcome == Outcome(ok=False, code="memory", usage={"texts": 2})
    assert asked.at <= note.metadata.at <= end.metadata.at
    assert [record.record for record in (loaded, second, note, end)] == [f"shard-000/{i}" for i in (1, 3, 4, 5)]


def test_reading_needs_no_key_of_the_box(book: JournalBox) -> None:
    journal = book.journal()
    whole_call(journal)
    journal.close()
    identity = book.id
    shutil.rmtree(book.folder / "keys")
    with closing(Salts(book.salts)) as salts:
        assert len(list(read(book.directory, identity, book.opener, salts))) == 2


def test_the_key_of_another_auditor_reads_nothing(book: JournalBox) -> None:
    journal = book.journal()
    whole_call(journal)
    journal.close()
    with pytest.raises(NotReadable) as refused:
        book.read(Opener.generate())
    assert refused.value.code == "epoch_sealed"


def test_without_the_salts_nothing_is_read_and_no_table_is_made(book: JournalBox) -> None:
    journal = book.journal()
    whole_call(journal)
    journal.close()
    book.salts.unlink()
    with pytest.raises(StateError) as refused:
        book.read()
    assert refused.value.code == "state_missing"
    assert not book.salts.exists()
    book.verify()


def test_a_destroyed_salt_erases_its_records_and_no_other(book: JournalBox) -> None:
    """Erased means unreadable with every key in hand, and every proof still holds."""
    journal = book.journal()
    kept, gone = opened(journal, "kept", subject="patient-1"), opened(journal, "gone", subject="patient-2")
    for entry in (kept, gone):
        journal.closed(entry, DONE)
    journal.close()
    before = book.verify()
    with closing(sqlite3.connect(book.salts, isolation_level=None)) as table:
        assert table.execute("DELETE FROM salts WHERE row = ?", (gone.salt[0],)).rowcount == 1
    records = book.read()
    assert [(record.metadata is None, record.payload) for record in records] == [
        (False, Payload(value="kept")),
        (True, None),
        (False, None),
        (True, None),
    ]
    assert book.verify() == before


def test_rows_do_not_link_the_records_of_a_person_in_public(book: JournalBox) -> None:
    journal = book.journal()
    for _ in range(20):
        opened(journal, subject="patient-7")
    journal.close()
    assert len({leaf.place.row for leaf in leaves(book.log)}) == 21
    content = book.log.read_bytes()
    with closing(sqlite3.connect(book.salts)) as table:
        assert [row for (row,) in table.execute("SELECT row FROM salts") if row in content] == []


def _altered(part: bytes, offset: int) -> bytes:
    return part[:offset] + bytes([part[offset] ^ 1]) + part[offset + 1 :]


@pytest.mark.parametrize("offset", [3, 7, 11, 15, 45, 77, 110, 130, -1, -40])
def test_an_altered_record_is_not_opened(book: JournalBox, offset: int) -> None:
    """Shard, sequence, epoch, of, commitments, lengths and ciphertexts; verification was left out by mistake."""
    journal = book.journal()
    opened(journal)
    journal.close()
    parts = bodies(book.log)
    write_log(book.log, [parts[0], _altered(parts[1], offset % len(parts[1]))])
    with pytest.raises(NotReadable) as refused:
        book.read()
    assert refused.value.code == "record_altered"


def test_an_altered_epoch_is_not_opened(book: JournalBox) -> None:
    journal = book.journal()
    opened(journal)
    journal.close()
    parts = bodies(book.log)
    write_log(book.log, [_altered(parts[0], len(parts[0]) - 1), *parts[1:]])
    with pytest.raises(NotReadable) as refused:
        book.read()
    assert refused.value.code == "record_altered"


def test_an_epoch_is_bound_to_its_journal(book: JournalBox, tmp_path: Path) -> None:
    journal = book.journal()
    opened(journal)
    journal.close()
    with closing(Salts(book.salts)) as salts, pytest.raises(NotReadable) as refused:
        list(read(book.directory, "sealpress.journal/" + "0" * 32, book.opener, salts))
    assert refused.value.code == "record_altered"


def test_a_log_that_is_cut_or_gone_is_not_read(book: JournalBox) -> None:
    journal = book.journal()
    opened(journal)
    journal.close()
    whole = book.log.read_bytes()
    book.log.write_bytes(whole[:-1])
    with pytest.raises(NotReadable) as refused:
        book.read()
    assert refused.value.code == "record_altered"
    book.log.unlink()
    with pytest.raises(NotReadable) as refused:
        book.read()
    assert refused.value.code == "record_altered"


def test_records_can_be_printed_as_json(book: JournalBox) -> None:
    journal = book.journal()
    whole_call(journal)
    journal.close()
    first, last = msgspec.to_builtins(book.read())
    assert first["metadata"]["record"] == "opened"
    assert first["payload"]["value"] == "where is the ward?"
    assert last["metadata"]["record"] == "closed"
