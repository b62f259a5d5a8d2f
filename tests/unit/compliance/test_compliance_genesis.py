"""The first files of a journal: made as a whole, in a place where nothing is, and known by their root."""

from __future__ import annotations

from pathlib import Path

import pytest

from compliance.journal.errors import JournalError
from compliance.journal.genesis import create, identity
from compliance.verify.journal import verify_journal
from tests.forge import FIRST_DAY, Forge, midnight, signer

NOON = midnight(FIRST_DAY) + 12 * 3600 * 10**9


def made(directory: Path) -> Forge:
    forge = Forge()
    create(directory, forge.root, forge.day_key(FIRST_DAY), forge.certificates, forge.id, NOON)
    return forge


def test_a_new_journal_verifies(tmp_path: Path) -> None:
    forge = made(tmp_path / "journal")
    assert verify_journal(tmp_path / "journal", forge.root.public).records == 0
    assert identity(tmp_path / "journal", forge.root.public) == forge.id
    assert sorted(path.name for path in tmp_path.rglob("*")) == [
        "certificates.notes", "journal", "journal.heads", "journal.note",
    ]  # fmt: skip


def test_a_journal_is_made_where_nothing_is(tmp_path: Path) -> None:
    (tmp_path / "journal").mkdir()
    with pytest.raises(JournalError) as caught:
        made(tmp_path / "journal")
    assert caught.value.code == "journal_exists"
    assert list((tmp_path / "journal").iterdir()) == []


def test_what_a_crash_left_half_made_is_in_nobodys_way(tmp_path: Path) -> None:
    (tmp_path / ".journal.new").mkdir()
    (tmp_path / ".journal.new" / "journal.note").write_text("half")
    forge = made(tmp_path / "journal")
    assert identity(tmp_path / "journal", forge.root.public) == forge.id
    assert [path.name for path in tmp_path.iterdir()] == ["journal"]


def test_a_failed_making_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(JournalError) as caught:
        made(tmp_path / "file" / "journal")
    assert caught.value.code == "journal_write"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("how", ["altered", "cut", "of another root", "no text", "removed"])
def test_a_journal_is_known_by_its_root(tmp_path: Path, how: str) -> None:
    forge = made(tmp_path / "journal")
    note = tmp_path / "journal" / "journal.note"
    root, expected = forge.root, "journal_foreign"
    if how == "altered":
        note.write_text(note.read_text("utf-8").replace("made 2026", "made 2025"), "utf-8")
    elif how == "cut":
        note.write_bytes(note.read_bytes()[:-5])
    elif how == "of another root":
        root = signer("another root")
    elif how == "no text":
        note.write_bytes(b"\xff\xfe" * 100_000)
    else:
        note.unlink()
        expected = "journal_missing"
    with pytest.raises(JournalError) as caught:
        identity(tmp_path / "journal", root.public)
    assert caught.value.code == expected
