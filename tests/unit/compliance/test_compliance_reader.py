"""What the auditor reads is what was written, with the right key and the salts, and nothing without either."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from compliance.crypto import Opener
from compliance.journal.erasure import erase
from compliance.journal.errors import NotReadable
from compliance.journal.reader import Record, Walk, read
from compliance.journal.records import Closed, Noted, Opened, contribution
from compliance.state.disposition import Disposition
from compliance.state.errors import StateError
from compliance.state.salts import Salts, pseudonym
from compliance.verify.leaf import EPOCH, HEADER
from policies.facts import Outcome
from policies.payload import Payload
from tests.forge import Forge, altered, log_of, opener
from tests.journals import DONE, FINE, MODEL, NO, YES, JournalBox, a_call, bodies, leaves, opened, refused, whole_call


@pytest.fixture
def book(tmp_path: Path) -> JournalBox:
    """A box with an empty journal."""
    return JournalBox.make(tmp_path / "box")


@pytest.fixture
def written(book: JournalBox) -> JournalBox:
    """A box with one call that has ended: EPOCH, ALLOWED, CLOSED."""
    journal = book.journal()
    whole_call(journal)
    journal.close()
    return book


def code_of(records: Iterable[object]) -> str:
    """Why these cannot be gone over."""
    with pytest.raises(NotReadable) as refusal:
        list(records)
    return refusal.value.code


def test_every_record_is_read_as_it_was_written(book: JournalBox) -> None:
    journal = book.journal()
    about = {"manifest": {"name": "minilm", "\u00fc": [1, 2.5, None]}}
    journal.record("loaded", about, "clinic")
    asked, against = a_call(journal, subject="patient-7"), a_call(journal, purpose=None)
    payload = Payload.checked(
        {"texts": ["where is the ward? \u2603", ""], "n": [0, -1.5, True, None]}, {"t": b"\0\xff\x80\0"}
    )
    entry = journal.opened(asked, MODEL, YES, payload)
    journal.opened(against, MODEL, NO, Payload(value=None))
    journal.noted(entry, "chunk", {"tokens": 3})
    journal.closed(entry, Outcome(ok=False, code="memory", usage={"texts": 2}))
    journal.close()

    loaded, first, second, note, end = book.read()
    model = {"name": MODEL.name, "version": MODEL.version, "digest": MODEL.digest, "licence": MODEL.licence}
    assert isinstance(loaded.metadata, Noted)
    assert (loaded.metadata.kind, loaded.metadata.data) == ("loaded", about)
    known_as = pseudonym(entry.salt[1], "patient-7")
    assert first == Record(
        record="shard-000/2",
        kind="allowed",
        metadata=Opened(
            call=msgspec.structs.replace(asked, subject=known_as),
            model=model,
            policy=YES.policy,
            allowed=True,
            rules=(FINE.rule,),
            against=(),
        ),
        payload=payload,
    )
    assert isinstance(second.metadata, Opened)
    assert (second.payload, second.metadata.call, second.metadata.allowed) == (None, against, False)
    assert second.metadata.rules == tuple(finding.rule for finding in NO.findings)
    assert second.metadata.against == NO.findings[1:]
    assert isinstance(note.metadata, Noted)
    assert (note.metadata.kind, note.metadata.data) == ("chunk", {"tokens": 3})
    assert isinstance(end.metadata, Closed)
    assert (end.metadata.call, end.metadata.outcome.code) == (asked.id, "memory")
    assert [record.kind for record in (loaded, second, note, end)] == ["noted", "refused", "noted", "closed"]
    assert [record.of for record in (loaded, first, note, end)] == [None, None, "shard-000/2", "shard-000/2"]
    assert [record.record for record in (loaded, second, note, end)] == [f"shard-000/{i}" for i in (1, 3, 4, 5)]


def test_every_shard_and_epoch_is_read(book: JournalBox) -> None:
    journal, other = book.journal(), book.journal()
    for writer in (journal, other, journal):
        opened(writer)
    journal.close()
    opened(other)
    other.close()
    again = book.journal()
    opened(again)
    again.close()
    assert [record.record for record in book.read()] == [
        *("shard-000/1", "shard-000/2", "shard-000/4"),
        *("shard-001/1", "shard-001/2"),
    ]
    assert all(record.payload == Payload(value="where is the ward?") for record in book.read())


def test_a_walk_ends_where_the_journal_ended_when_it_was_made(book: JournalBox) -> None:
    journal = book.journal()
    opened(journal)
    walk = Walk(book.directory, book.id, book.opener)
    before = [located.name for located in walk]
    opened(journal)
    assert [located.name for located in walk] == before == ["shard-000/1"]
    journal.close()


def test_reading_needs_no_key_of_the_box(written: JournalBox) -> None:
    identity = written.id
    shutil.rmtree(written.folder / "keys")
    with closing(Salts(written.salts)) as salts:
        assert len(list(read(written.directory, identity, written.opener, salts))) == 2


def test_the_key_of_another_auditor_reads_nothing(written: JournalBox) -> None:
    with pytest.raises(NotReadable) as refusal:
        written.read(Opener.generate())
    assert refusal.value.code == "epoch_sealed"


def rotated(folder: Path) -> Forge:
    """A call sealed to the first auditor, one to the second, one to both, and one to the first in another shard."""
    forge = Forge(auditors=("first", "second"))
    first, second = forge.auditors
    for shard, auditors in ((forge.shard(), ([first], [second], [first, second])), (forge.shard(), ([first],))):
        for several in auditors:
            shard.epoch(auditors=several)
            shard.allowed(f"shard {shard.number}")
    forge.write(folder)
    return forge


def contributions(forge: Forge) -> Mapping[tuple[int, int], bytes]:
    """What the salts contribute to every record of a patient."""
    _, salt = forge.salt("patient-7")
    return {place: contribution(salt, bytes.fromhex(forge.id), *place) for place in forge.contents}


@pytest.mark.parametrize(
    ("auditor", "unread"),
    [
        ("first", [None, "other_auditor", None, None]),
        ("second", ["other_auditor", None, None, "other_auditor"]),
    ],
)
def test_what_is_sealed_to_other_auditors_does_not_end_the_reading(
    tmp_path: Path, auditor: str, unread: list[str | None]
) -> None:
    forge = rotated(tmp_path)
    records = list(read(tmp_path, forge.id, opener(auditor), contributions(forge)))
    assert [record.record for record in records] == ["shard-000/1", "shard-000/3", "shard-000/5", "shard-001/1"]
    assert [record.unread for record in records] == unread
    for record in records:
        assert (record.payload is None) == (record.metadata is None) == (record.unread is not None)


def test_only_what_was_released_is_read(tmp_path: Path) -> None:
    forge = rotated(tmp_path)
    released = {(0, 5): contributions(forge)[0, 5]}
    records = list(read(tmp_path, forge.id, opener("first"), released))
    assert [record.unread for record in records] == ["not_released", "other_auditor", None, "not_released"]
    assert records[2].payload == Payload(value="shard 0")


def test_what_was_released_of_one_record_opens_no_other(tmp_path: Path) -> None:
    forge = rotated(tmp_path)
    moved = {(0, 5): contributions(forge)[0, 1]}
    assert code_of(read(tmp_path, forge.id, opener("first"), moved)) == "record_altered"


def test_kinds_of_a_later_version_are_passed_over(tmp_path: Path) -> None:
    forge = Forge()
    shard = forge.shard()
    shard.epoch()
    shard.allowed("before")
    shard.public(shard.place(9), b"nobody knows")
    shard.gap()
    shard.epoch()
    shard.allowed("behind")
    forge.write(tmp_path)
    records = read(tmp_path, forge.id, opener("auditor"), contributions(forge))
    assert [record.payload for record in records] == [Payload(value="before"), Payload(value="behind")]


def test_without_the_salts_nothing_is_read_and_no_table_is_made(written: JournalBox) -> None:
    written.salts.unlink()
    with pytest.raises(StateError) as refusal:
        written.read()
    assert refusal.value.code == "state_missing"
    assert not written.salts.exists()
    written.verify()


def test_an_erased_subject_is_read_no_more_and_every_other_is(book: JournalBox) -> None:
    """Erased means unreadable with every key in hand, and every proof still holds."""
    journal = book.journal()
    kept, gone = opened(journal, "kept", subject="patient-1"), opened(journal, "gone", subject="patient-2")
    for entry in (kept, gone):
        journal.closed(entry, DONE)
    with Disposition.open(book.salts) as disposition:
        erase(journal, disposition, "clinic", "patient-2", "asked for")
    journal.close()
    records = book.read()
    assert [(record.kind, record.unread, record.payload) for record in records] == [
        ("allowed", None, Payload(value="kept")),
        ("allowed", "erased", None),
        ("closed", None, None),
        ("closed", "erased", None),
        ("noted", None, None),
    ]
    assert book.verify().allowed == 2


def test_rows_do_not_link_the_records_of_a_person_in_public(book: JournalBox) -> None:
    journal = book.journal()
    for _ in range(20):
        opened(journal, subject="patient-7")
    journal.close()
    assert len({leaf.row for leaf in leaves(book.log) if leaf.kind != EPOCH}) == 20
    assert len({located.row for located in Walk(book.directory, book.id, book.opener)}) == 1


# kind, shard, sequence, epoch, of, both commitments, nonce, ciphertext, tag
@pytest.mark.parametrize("offset", [1, 3, 11, 15, 17, 45, 77, HEADER, 130, -1])
def test_an_altered_record_is_not_opened(written: JournalBox, offset: int) -> None:
    """Verification was left out by mistake."""
    epoch, allowed, _ = bodies(written.log)
    at = offset % len(allowed)
    written.log.write_bytes(log_of([epoch, altered(allowed, at, bytes([allowed[at] ^ 1]))]))
    with pytest.raises(NotReadable) as refusal:
        written.read()
    assert refusal.value.code == "record_altered"


def test_an_altered_epoch_is_not_opened(written: JournalBox) -> None:
    epoch, *others = bodies(written.log)
    written.log.write_bytes(log_of([altered(epoch, len(epoch) - 1, bytes([epoch[-1] ^ 1])), *others]))
    assert code_of(Walk(written.directory, written.id, written.opener)) == "record_altered"


def test_an_epoch_is_bound_to_its_journal(written: JournalBox) -> None:
    assert code_of(Walk(written.directory, "0" * 32, written.opener)) == "record_altered"


def test_a_log_that_is_cut_or_gone_is_not_read(written: JournalBox) -> None:
    whole = written.log.read_bytes()
    written.log.write_bytes(whole[:-1])
    assert code_of(Walk(written.directory, written.id, written.opener)) == "record_altered"
    written.log.unlink()
    with pytest.raises(NotReadable) as refusal:
        Walk(written.directory, written.id, written.opener)
    assert refusal.value.code == "record_altered"


def test_what_is_being_written_is_left_for_the_next_time(book: JournalBox) -> None:
    journal = book.journal()
    opened(journal)
    whole = book.log.read_bytes()
    book.log.write_bytes(whole + whole[:50])
    assert [located.name for located in Walk(book.directory, book.id, book.opener)] == ["shard-000/1"]
    journal.close()


def test_records_can_be_printed_as_json(book: JournalBox) -> None:
    journal = book.journal()
    whole_call(journal)
    refused(journal)
    journal.close()
    first, last, against = msgspec.to_builtins(book.read())
    assert (first["kind"], first["metadata"]["record"]) == ("allowed", "opened")
    assert first["payload"]["value"] == "where is the ward?"
    assert (last["of"], last["metadata"]["record"]) == ("shard-000/1", "closed")
    assert against["metadata"]["against"][0]["rule"] == "base.purpose"
