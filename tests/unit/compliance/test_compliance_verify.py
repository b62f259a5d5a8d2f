"""The verifier against a golden journal and everything that can be done to it: each attack has its name and its code.

Format 0 is replaced by the next format, so the broken journals are made here and not kept in tests/vectors.
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
import shutil
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from compliance.crypto import Signer, sha256
from compliance.verify.journal import NotVerified, Verified, genesis, shards, verify_journal
from compliance.verify.leaf import ALLOWED, CLOSED, MAX_BODY, NOTED, REFUSED, Leaf, Place, framed
from compliance.verify.note import Head, signed
from tests.journals import (
    DONE,
    JournalBox,
    bodies,
    failures,
    forged_heads,
    leaves,
    notes_of,
    opened,
    records,
    refused,
    whole_call,
    write_log,
)

SIGNER = Signer(bytes(range(32)))


def _write(box: JournalBox) -> None:
    """Two shards. The first: an epoch, three calls (one refused, one unfinished), a note, and heads in between."""
    first, second = box.journal(), box.journal()
    entry = opened(first)
    refused(first)
    first.noted(entry, "chunk", {"tokens": 3})
    first.closed(entry, DONE)
    first.checkpoint()
    opened(first)
    whole_call(second)
    first.close()
    second.close()


@pytest.fixture
def book(tmp_path: Path) -> JournalBox:
    """A box with an empty journal."""
    return JournalBox.make(tmp_path / "box")


@pytest.fixture(scope="module")
def golden(tmp_path_factory: pytest.TempPathFactory) -> JournalBox:
    box = JournalBox.make(tmp_path_factory.mktemp("golden") / "box", signer=SIGNER)
    _write(box)
    return box


@pytest.fixture
def box(golden: JournalBox, tmp_path: Path) -> JournalBox:
    """A copy to break."""
    shutil.copytree(golden.folder, tmp_path / "box")
    return JournalBox(tmp_path / "box")


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> JournalBox:
    """Another journal of the same signer."""
    box = JournalBox.make(tmp_path_factory.mktemp("stranger") / "box", signer=SIGNER)
    _write(box)
    return box


def test_the_golden_journal_holds(golden: JournalBox) -> None:
    found = golden.verify()
    heads = found.heads
    assert found == Verified(records=9, allowed=3, refused=1, unfinished=1, unsealed=0, heads=heads)
    assert {name: head.size for name, head in heads.items()} == {"shard-000": 6, "shard-001": 3}
    assert [leaf.place.kind for leaf in leaves(golden.log)] == [1, ALLOWED, REFUSED, NOTED, CLOSED, ALLOWED]
    sizes = [int(note.split("\n")[1]) for note in notes_of(golden.heads)]
    assert sizes == [0, 2, 5, 6]


def test_an_empty_journal_holds(book: JournalBox) -> None:
    assert book.verify() == Verified()
    book.journal().close()
    assert book.verify() == Verified()
    assert shards(book.directory) == []


def test_a_folder_without_a_journal_does_not(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "journal.note").mkdir()
    for directory in (tmp_path, tmp_path / "absent", tmp_path / "file"):
        assert failures(directory, SIGNER.public) == [("journal.note", "genesis_missing")]


def test_what_was_found_is_said_in_the_error(box: JournalBox) -> None:
    box.heads.unlink()
    with pytest.raises(NotVerified) as refusal:
        box.verify()
    assert (refusal.value.code, refusal.value.records) == ("journal_not_verified", 9)
    assert str(refusal.value) == "1 failures, the first at shard-000"


# every byte, every cut


@pytest.fixture
def small(box: JournalBox) -> JournalBox:
    """One shard, and no more than the last two heads, since it is verified some ten thousand times."""
    for kind in ("log", "heads"):
        (box.directory / f"shard-001.{kind}").unlink()
    box.heads.write_text("".join(notes_of(box.heads)[-2:]), "utf-8")
    return box


def _mutations(byte: int, position: int) -> set[int]:
    return {byte ^ 1 << position % 8, 0xFF if position % 2 else 0x00} - {byte}


def _log_failures(log: Path) -> list[tuple[str, set[str]]]:
    """What each byte of a log must be refused with: the name of its record, and the code."""
    expected: list[tuple[str, set[str]]] = []
    for number, (_, end) in enumerate(records(log)):
        record = f"{log.stem}/{number}"
        expected += [(record, {"record_check", "record_length", "record_truncated"})] * 4
        expected += [(record, {"record_check"})] * (end - len(expected))
    return expected


def _head_failures(heads: Path) -> list[tuple[str, set[str]]]:
    expected: list[tuple[str, set[str]]] = []
    for number, note in enumerate(notes_of(heads)):
        # a byte that becomes a line break or was one moves the lines behind it
        expected += [(f"{heads.stem} head {number}", {"head_signature", "head_truncated"})] * len(note.encode())
    return expected


def _genesis_failures(path: Path) -> list[tuple[str, set[str]]]:
    return [("journal.note", {"genesis_signature"})] * path.stat().st_size


@pytest.mark.parametrize(
    ("name", "expect"),
    [
        ("journal.note", _genesis_failures),
        ("shard-000.heads", _head_failures),
        ("shard-000.log", _log_failures),
    ],
)
def test_every_byte_that_is_altered_is_found_and_named(
    small: JournalBox, name: str, expect: Callable[[Path], list[tuple[str, set[str]]]]
) -> None:
    path = small.directory / name
    expected = expect(path)
    original = path.read_bytes()
    assert len(original) == len(expected)
    descriptor = os.open(path, os.O_RDWR)
    for position, byte in enumerate(original):
        record, codes = expected[position]
        for other in _mutations(byte, position):
            os.pwrite(descriptor, bytes([other]), position)
            found = failures(small.directory, SIGNER.public)
            assert len(found) == 1, (position, other)
            assert found[0][0] == record, (position, other)
            assert found[0][1] in codes, (position, other)
        os.pwrite(descriptor, bytes([byte]), position)
    os.close(descriptor)
    small.verify()


def test_every_file_of_the_journal_was_altered_above(small: JournalBox) -> None:
    assert {path.name for path in small.directory.iterdir()} == {"journal.note", "shard-000.log", "shard-000.heads"}


def test_the_log_is_refused_at_every_cut(small: JournalBox) -> None:
    ends = [end for _, end in records(small.log)]
    for cut in range(ends[-1] - 1, -1, -1):
        os.truncate(small.log, cut)
        whole = sum(end <= cut for end in ends)
        code = "record_missing" if cut in (0, *ends) else "record_truncated"
        assert failures(small.directory, SIGNER.public) == [(f"shard-000/{whole}", code)], cut


def test_the_heads_are_refused_at_every_cut_within_one(box: JournalBox) -> None:
    text = box.heads.read_bytes()
    ends = [0]
    for note in notes_of(box.heads):
        ends.append(ends[-1] + len(note.encode()))
    unsealed = []
    for cut in range(len(text) - 1, -1, -1):
        os.truncate(box.heads, cut)
        whole = sum(end <= cut for end in ends) - 1
        if cut == 0:
            assert box.failures() == [("shard-000", "head_missing")]
        elif cut in ends:
            # only a head that was kept elsewhere could tell; until then it shows as records that nobody signed
            unsealed.append(box.verify().unsealed)
        else:
            assert box.failures() == [(f"shard-000 head {whole}", "head_truncated")], cut
    assert unsealed == [1, 4, 6]


# attacks: each takes the copy of the golden journal, and is found as it says


def drop_a_record(box: JournalBox, _: JournalBox) -> None:
    parts = bodies(box.log)
    write_log(box.log, parts[:2] + parts[3:])


def drop_the_last_record(box: JournalBox, _: JournalBox) -> None:
    write_log(box.log, bodies(box.log)[:-1])


def drop_every_record(box: JournalBox, _: JournalBox) -> None:
    box.log.write_bytes(b"")


def swap_two_records(box: JournalBox, _: JournalBox) -> None:
    parts = bodies(box.log)
    write_log(box.log, [*parts[:2], parts[3], parts[2], *parts[4:]])


def duplicate_a_record(box: JournalBox, _: JournalBox) -> None:
    parts = bodies(box.log)
    write_log(box.log, [*parts[:3], *parts[2:]])


def _renumbered(parts: list[bytes]) -> list[bytes]:
    return [body[:4] + number.to_bytes(8, "big") + body[12:] for number, body in enumerate(parts)]


def drop_a_record_and_renumber(box: JournalBox, _: JournalBox) -> None:
    parts = bodies(box.log)
    write_log(box.log, _renumbered(parts[:2] + parts[3:]))


def swap_two_records_and_renumber(box: JournalBox, _: JournalBox) -> None:
    parts = bodies(box.log)
    write_log(box.log, _renumbered([*parts[:2], parts[3], parts[2], *parts[4:]]))


def duplicate_a_record_and_renumber(box: JournalBox, _: JournalBox) -> None:
    parts = bodies(box.log)
    write_log(box.log, _renumbered([*parts[:3], *parts[2:]]))


def insert_a_record_of_anothers(box: JournalBox, stranger: JournalBox) -> None:
    parts, others = bodies(box.log), bodies(stranger.log)
    write_log(box.log, [*parts[:2], others[2], *parts[3:]])


def alter_a_ciphertext(box: JournalBox, _: JournalBox) -> None:
    parts = bodies(box.log)
    parts[1] = parts[1][:-1] + bytes([parts[1][-1] ^ 1])
    write_log(box.log, parts)


def alter_a_row(box: JournalBox, _: JournalBox) -> None:
    parts = bodies(box.log)
    parts[3] = parts[3][:30] + bytes(12) + parts[3][42:]
    write_log(box.log, parts)


def refuse_what_was_allowed(box: JournalBox, _: JournalBox) -> None:
    parts = bodies(box.log)
    parts[5] = parts[5][:1] + bytes([REFUSED]) + parts[5][2:]
    write_log(box.log, parts)


def take_the_records_of_another_journal(box: JournalBox, stranger: JournalBox) -> None:
    shutil.copy(stranger.log, box.log)


def take_a_shard_of_another_journal(box: JournalBox, stranger: JournalBox) -> None:
    shutil.copy(stranger.log, box.log)
    shutil.copy(stranger.heads, box.heads)


def take_the_head_of_another_journal(box: JournalBox, stranger: JournalBox) -> None:
    box.heads.write_text("".join([*notes_of(box.heads)[:2], *notes_of(stranger.heads)[2:]]), "utf-8")


def take_the_records_of_another_shard(box: JournalBox, _: JournalBox) -> None:
    shutil.copy(box.directory / "shard-001.log", box.log)


def take_another_shard(box: JournalBox, _: JournalBox) -> None:
    shutil.copy(box.directory / "shard-001.log", box.log)
    shutil.copy(box.directory / "shard-001.heads", box.heads)


def add_a_copy_of_a_shard(box: JournalBox, _: JournalBox) -> None:
    shutil.copy(box.log, box.directory / "shard-002.log")
    shutil.copy(box.heads, box.directory / "shard-002.heads")


def remove_the_heads(box: JournalBox, _: JournalBox) -> None:
    box.heads.unlink()


def put_a_folder_for_the_heads(box: JournalBox, _: JournalBox) -> None:
    box.heads.unlink()
    box.heads.mkdir()


def put_a_pipe_for_the_heads(box: JournalBox, _: JournalBox) -> None:
    box.heads.unlink()
    os.mkfifo(box.heads)


def remove_a_log(box: JournalBox, _: JournalBox) -> None:
    box.log.unlink()


def put_a_pipe_for_a_log(box: JournalBox, _: JournalBox) -> None:
    box.log.unlink()
    os.mkfifo(box.log)


def remove_a_shard_before_others(box: JournalBox, _: JournalBox) -> None:
    box.log.unlink()
    box.heads.unlink()


def remove_the_first_page(box: JournalBox, _: JournalBox) -> None:
    (box.directory / "journal.note").unlink()


def take_the_first_page_of_another_journal(box: JournalBox, stranger: JournalBox) -> None:
    shutil.copy(stranger.directory / "journal.note", box.directory / "journal.note")


def put_a_head_for_the_first_page(box: JournalBox, _: JournalBox) -> None:
    (box.directory / "journal.note").write_text(notes_of(box.heads)[0].removesuffix("\n"), "utf-8")


def append_to_the_first_page(box: JournalBox, _: JournalBox) -> None:
    with (box.directory / "journal.note").open("ab") as file:
        file.write(b"\n" * 70_000)


def sign_the_first_page_as_another(box: JournalBox, _: JournalBox) -> None:
    path = box.directory / "journal.note"
    path.write_text(signed(path.read_text("utf-8").split("\n\n")[0] + "\n", Signer.generate()), "utf-8")


def sign_a_head_as_another(box: JournalBox, _: JournalBox) -> None:
    notes = notes_of(box.heads)
    notes[-1] = signed(notes[-1].split("\n\n")[0] + "\n", Signer.generate()) + "\n"
    box.heads.write_text("".join(notes), "utf-8")


def _swap_heads(box: JournalBox, order: list[int]) -> None:
    notes = notes_of(box.heads)
    box.heads.write_text("".join(notes[i] for i in order), "utf-8")


def swap_two_heads(box: JournalBox, _: JournalBox) -> None:
    _swap_heads(box, [0, 2, 1, 3])


def duplicate_a_head(box: JournalBox, _: JournalBox) -> None:
    _swap_heads(box, [0, 1, 2, 3, 3])


def put_a_line_of_a_gigabyte_into_the_heads(box: JournalBox, _: JournalBox) -> None:
    os.truncate(box.heads, 2**30)  # with a hole behind the last head


def put_no_utf_8_into_the_heads(box: JournalBox, _: JournalBox) -> None:
    with box.heads.open("ab") as file:
        file.write(b"\xff\n" * 7 + b"\n")


def claim_a_length_that_is_impossible(box: JournalBox, _: JournalBox) -> None:
    with box.log.open("ab") as file:
        file.write((MAX_BODY + 1).to_bytes(4, "big") + bytes(100))


def append_zeros(box: JournalBox, _: JournalBox) -> None:
    os.truncate(box.log, box.log.stat().st_size + 4096)


def append_what_is_no_leaf(box: JournalBox, _: JournalBox) -> None:
    write_log(box.log, [*bodies(box.log), b""])


def append_another_format(box: JournalBox, _: JournalBox) -> None:
    write_log(box.log, [*bodies(box.log), b"\x01" + bytes(200)])


# attacks with the signing key in hand


def sign_other_counters(box: JournalBox, _: JournalBox) -> None:
    forged_heads(box, [6], counters={"allowed": 2, "refused": 0, "rules": {}})


def sign_more_than_there_is(box: JournalBox, _: JournalBox) -> None:
    forged_heads(box, [6])
    write_log(box.log, bodies(box.log)[:4])


def sign_an_earlier_time(box: JournalBox, _: JournalBox) -> None:
    notes = []
    for size, at in ((5, 2), (6, 1)):
        forged_heads(box, [size], at=at)
        notes.append(box.heads.read_text("utf-8"))
    box.heads.write_text("".join(notes), "utf-8")


def _append_signed(box: JournalBox, place: Place) -> None:
    write_log(box.log, [*bodies(box.log), Leaf(place, b"", b"").body()])
    forged_heads(box, [7])


def close_what_was_never_opened(box: JournalBox, _: JournalBox) -> None:
    _append_signed(box, Place(CLOSED, 0, 6, 1, 0, 3))


def close_what_was_refused(box: JournalBox, _: JournalBox) -> None:
    _append_signed(box, Place(CLOSED, 0, 6, 1, 0, 2))


def close_what_was_closed(box: JournalBox, _: JournalBox) -> None:
    _append_signed(box, Place(CLOSED, 0, 6, 1, 0, 1))


def close_itself(box: JournalBox, _: JournalBox) -> None:
    _append_signed(box, Place(CLOSED, 0, 6, 1, 0, 6))


def close_behind_the_end_of_another_shard(box: JournalBox, _: JournalBox) -> None:
    _append_signed(box, Place(CLOSED, 0, 6, 1, 1, 3))


def close_in_a_shard_that_does_not_exist(box: JournalBox, _: JournalBox) -> None:
    _append_signed(box, Place(CLOSED, 0, 6, 1, 7, 0))


Attack = Callable[[JournalBox, JournalBox], None]
ATTACKS: list[tuple[Attack, list[tuple[str, str]]]] = [
    (drop_a_record, [("shard-000/2", "record_sequence")]),
    (drop_the_last_record, [("shard-000/5", "record_missing")]),
    (drop_every_record, [("shard-000/0", "record_missing")]),
    (swap_two_records, [(f"shard-000/{number}", "record_sequence") for number in (2, 3, 4)]),
    (duplicate_a_record, [("shard-000/3", "record_sequence")]),
    (drop_a_record_and_renumber, [("shard-000/4", "head_root")]),
    (swap_two_records_and_renumber, [("shard-000/4", "head_root")]),
    (duplicate_a_record_and_renumber, [("shard-000/4", "head_root")]),
    (insert_a_record_of_anothers, [("shard-000/4", "head_root")]),
    (alter_a_ciphertext, [("shard-000/1", "head_root")]),
    (alter_a_row, [("shard-000/4", "head_root")]),
    (refuse_what_was_allowed, [("shard-000/5", "head_root")]),
    (take_the_records_of_another_journal, [("shard-000/1", "head_root")]),
    (take_a_shard_of_another_journal, [("shard-000 head 0", "head_origin")]),
    (take_the_head_of_another_journal, [("shard-000 head 2", "head_origin")]),
    (take_the_records_of_another_shard, [(f"shard-000/{number}", "record_sequence") for number in range(3)]),
    (
        take_another_shard,
        [("shard-000 head 0", "head_origin"), *((f"shard-000/{number}", "record_sequence") for number in range(3))],
    ),
    (
        add_a_copy_of_a_shard,
        [("shard-002 head 0", "head_origin"), *((f"shard-002/{number}", "record_sequence") for number in range(6))],
    ),
    (remove_the_heads, [("shard-000", "head_missing")]),
    (put_a_folder_for_the_heads, [("shard-000", "head_missing")]),
    (put_a_pipe_for_the_heads, [("shard-000", "head_missing")]),
    (remove_a_log, [("shard-000", "shard_missing")]),
    (put_a_pipe_for_a_log, [("shard-000", "shard_missing")]),
    (remove_a_shard_before_others, [("shard-000", "shard_missing")]),
    (remove_the_first_page, [("journal.note", "genesis_missing")]),
    (
        take_the_first_page_of_another_journal,
        [("shard-000 head 0", "head_origin"), ("shard-001 head 0", "head_origin")],
    ),
    (put_a_head_for_the_first_page, [("journal.note", "genesis_signature")]),
    (append_to_the_first_page, [("journal.note", "genesis_signature")]),
    (sign_the_first_page_as_another, [("journal.note", "genesis_signature")]),
    (sign_a_head_as_another, [("shard-000 head 3", "head_signature")]),
    (swap_two_heads, [("shard-000 head 2", "head_order")]),
    (duplicate_a_head, [("shard-000 head 4", "head_order")]),
    (put_a_line_of_a_gigabyte_into_the_heads, [("shard-000 head 4", "head_signature")]),
    (put_no_utf_8_into_the_heads, [("shard-000 head 4", "head_signature")]),
    (claim_a_length_that_is_impossible, [("shard-000/6", "record_length")]),
    (append_zeros, [("shard-000/6", "record_check")]),
    (append_what_is_no_leaf, [("shard-000/6", "record_malformed")]),
    (append_another_format, [("shard-000/6", "record_format")]),
    (sign_other_counters, [("shard-000/5", "head_counters")]),
    (sign_more_than_there_is, [("shard-000/4", "record_missing")]),
    (sign_an_earlier_time, [("shard-000 head 1", "head_order")]),
    (close_what_was_never_opened, [("shard-000/6", "record_of")]),
    (close_what_was_refused, [("shard-000/6", "record_of")]),
    (close_what_was_closed, [("shard-000/6", "record_of")]),
    (close_itself, [("shard-000/6", "record_of")]),
    (close_behind_the_end_of_another_shard, [("shard-000/6", "record_of")]),
    (close_in_a_shard_that_does_not_exist, [("shard-000/6", "record_of")]),
]


@pytest.mark.parametrize(("attack", "expected"), ATTACKS, ids=[attack.__name__ for attack, _ in ATTACKS])
def test_an_attack_is_found(
    box: JournalBox, stranger: JournalBox, attack: Attack, expected: list[tuple[str, str]]
) -> None:
    attack(box, stranger)
    assert box.failures() == expected


def test_every_code_is_reached_by_an_attack() -> None:
    reached = {code for _, expected in ATTACKS for _, code in expected}
    # a flipped byte and a cut, above
    reached |= {"record_check", "record_truncated", "head_truncated"}
    assert reached == set(NotVerified.hints) - {"journal_not_verified"}


def test_another_key_verifies_nothing(golden: JournalBox) -> None:
    for public in (Signer.generate().public, bytes(32), b"", golden.opener.public):
        assert failures(golden.directory, public) == [("journal.note", "genesis_signature")]


def test_an_outcome_in_another_shard_settles_its_call(box: JournalBox) -> None:
    write_log(box.log, [*bodies(box.log), Leaf(Place(CLOSED, 0, 6, 1, 1, 1), b"", b"").body()])
    forged_heads(box, [7])
    assert box.verify().unfinished == 1
    parts = [*bodies(box.log)[:-1], Leaf(Place(CLOSED, 1, 3, 1, 0, 5), b"", b"").body()]
    other = box.directory / "shard-001.log"
    write_log(box.log, parts[:6])
    write_log(other, [*bodies(other), parts[6]])
    forged_heads(box, [6])
    assert box.verify().unfinished == 0


def test_a_kind_of_record_that_is_not_known_is_opaque(box: JournalBox) -> None:
    write_log(box.log, [*bodies(box.log), Leaf(Place(200, 0, 6, 1), b"receipt", b"").body()])
    forged_heads(box, [7])
    assert box.verify().records == 10


def test_other_files_in_the_folder_are_not_the_journal(box: JournalBox) -> None:
    for name in ("shard-0000.log", "shard-00\u0660.log", "shard-000.log.bak", "shard-002.txt", "README"):
        (box.directory / name).write_bytes(b"anything")
    assert box.verify().records == 9


def test_records_behind_the_last_head_are_counted_as_unsealed(box: JournalBox) -> None:
    box.heads.write_text("".join(notes_of(box.heads)[:2]), "utf-8")
    found = box.verify()
    assert (found.records, found.unsealed) == (9, 4)
    assert found.heads["shard-000"].size == 2


def test_a_record_or_head_that_a_process_is_writing_is_no_failure(box: JournalBox) -> None:
    whole, heads = box.log.read_bytes(), box.heads.read_bytes()
    box.log.write_bytes(whole + framed(bodies(box.log)[-1])[:-1])
    box.heads.write_bytes(heads + notes_of(box.heads)[-1].encode()[:-1])
    assert box.failures() == [("shard-000 head 4", "head_truncated"), ("shard-000/6", "record_truncated")]
    with box.log.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert box.verify().records == 9
        # what was signed cannot be in the middle of being written
        box.log.write_bytes(whole[:-1])
        assert box.failures() == [("shard-000/5", "record_missing")]
    box.heads.write_bytes(heads)
    assert box.failures() == [("shard-000/5", "record_truncated")]


def test_a_record_that_was_just_written_is_no_failure(box: JournalBox, monkeypatch: pytest.MonkeyPatch) -> None:
    """The log is measured while half a record is there; when the end is reached the other half is there, too."""
    whole = box.log.read_bytes() + framed(Leaf(Place(NOTED, 0, 6, 1), b"", b"").body())
    os.truncate(box.log, len(whole) - 20)
    real = Leaf.parsed
    box.log.write_bytes(whole[:-20])

    def parsed(body: bytes) -> Leaf:
        box.log.write_bytes(whole)  # another process goes on
        return real(body)

    monkeypatch.setattr(Leaf, "parsed", parsed)
    assert box.verify().records == 9
    monkeypatch.undo()
    assert box.verify().records == 10


def test_failures_are_named_a_thousand_times_at_most(book: JournalBox) -> None:
    write_log(book.log, (Leaf(Place(NOTED, 7, number, 1), b"", b"").body() for number in range(1500)))
    forged_heads(book, [0])
    assert len(book.failures()) == 1000


def test_memory_does_not_grow_with_the_journal(book: JournalBox) -> None:
    size = 2000
    write_log(book.log, (Leaf(Place(NOTED, 0, number, 1), bytes(300), b"").body() for number in range(size)))
    forged_heads(book, range(size + 1))
    assert book.heads.stat().st_size + book.log.stat().st_size > 1_400_000
    tracemalloc.start()
    try:
        found = book.verify()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (found.records, found.unsealed) == (size, 0)
    assert peak < 500_000


def test_verifying_needs_nothing_private(box: JournalBox) -> None:
    for path in (box.folder / "keys", box.folder / "state", box.folder / "auditor.key"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert verify_journal(box.directory, SIGNER.public).records == 9


def test_a_head_can_be_checked_by_hand(golden: JournalBox) -> None:
    """RFC 6962 over the bodies, and the lines of c2sp.org/tlog-checkpoint."""

    def root(leaves: list[bytes]) -> bytes:
        if len(leaves) == 1:
            return sha256(b"\0", leaves[0])
        split = 1 << (len(leaves) - 1).bit_length() - 1
        return sha256(b"\1", root(leaves[:split]), root(leaves[split:]))

    lines = notes_of(golden.heads)[-1].split("\n")
    assert lines[0] == f"{genesis(golden.directory, SIGNER.public)}/shard-000"
    assert lines[1] == "6"
    assert lines[2] == base64.b64encode(root(bodies(golden.log))).decode()
    assert json.loads(lines[4].removeprefix("counters ")) == {
        "allowed": 2,
        "refused": 1,
        "rules": {"base.purpose": 1},
    }
    assert Head.parsed("\n".join(lines[:5]) + "\n").size == 6
