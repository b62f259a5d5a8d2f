"""Signed notes: one spelling each, whose key signed them, and files of them."""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from compliance.crypto import Signer, Unauthentic
from compliance.verify.leaf import Broken
from compliance.verify.note import DAY, ROOT, WITNESS, Note, cosigned, cosigned_at, key_id, notes, regular, signed

SIGNER = Signer(bytes(range(32)))
OTHER = Signer(bytes(32))
TEXT = "sealpress.journal/0\nfive\nlines\n"
NOTE = signed(TEXT, DAY, SIGNER)
BASE, _, LINE = NOTE.rpartition(" ")


def opened(note: str, public: bytes = SIGNER.public) -> str:
    return Note.parsed(note).check(DAY, public)


def test_a_note_is_what_c2sp_describes() -> None:
    """c2sp.org/signed-note: text, empty line, em dash, key name, base64 of key id and signature."""
    text, _, line = NOTE.partition("\n\n")
    dash, name, encoded = line.removesuffix("\n").split(" ")
    raw = base64.b64decode(encoded, validate=True)
    assert (text + "\n", dash, name) == (TEXT, "\u2014", "sealpress.day")
    assert raw[:4] == hashlib.sha256(b"sealpress.day\n\x01" + SIGNER.public).digest()[:4] == key_id(DAY, SIGNER.public)
    assert raw[4:] == SIGNER.sign(TEXT.encode())


def test_a_note_opens_with_the_key_of_its_signer_in_its_role_only() -> None:
    assert opened(NOTE) == TEXT
    for name, public in ((DAY, OTHER.public), (DAY, bytes(32)), (DAY, b""), (ROOT, SIGNER.public)):
        with pytest.raises(Unauthentic) as refused:
            Note.parsed(NOTE).check(name, public)
        assert refused.value.code == "signature"


def test_every_other_character_is_refused() -> None:
    for position, character in enumerate(NOTE):
        for other in (chr(ord(character) ^ 1), "", "\n", " ", "=", character * 2):
            altered = NOTE[:position] + other + NOTE[position + 1 :]
            if altered == NOTE:
                continue
            with pytest.raises(Unauthentic) as refused:
                opened(altered)
            assert refused.value.code == "signature"


@pytest.mark.parametrize(
    "note",
    [
        "",
        "\n",
        "\n\n",
        TEXT,
        TEXT + "\n",
        NOTE.removesuffix("\n"),
        NOTE + "\n",
        NOTE + NOTE,
        NOTE + NOTE.split("\n\n")[1],
        "\ufeff" + NOTE,
        NOTE.replace("\n", "\r\n"),
        NOTE.replace("\u2014", "-"),
        NOTE.replace(DAY, "someone.else"),
        NOTE.replace(DAY, ""),
        NOTE.replace(DAY, "sealpress\u00a0day"),
        f"{BASE} \n",
        f"{BASE} {LINE[:4]}\n",
        f"{BASE} {LINE.strip()}=\n",
        f"{BASE} {base64.urlsafe_b64encode(bytes([251] * 68)).decode()}\n",
        f"{BASE} {base64.b64encode(base64.b64decode(LINE) + bytes(1)).decode()}\n",
    ],
)
def test_another_spelling_of_a_note_is_refused(note: str) -> None:
    with pytest.raises(Unauthentic) as refused:
        opened(note)
    assert refused.value.code == "signature"


def test_a_text_with_a_signature_line_of_its_own_is_not_taken_apart_wrongly() -> None:
    with pytest.raises(Unauthentic):
        opened(signed(NOTE + "more\n", DAY, SIGNER))


# c2sp.org/tlog-cosignature


def test_a_cosignature_is_what_c2sp_describes() -> None:
    note = cosigned(Note.parsed(NOTE), 1_795_435_215, OTHER)
    name, id_, signature = note.signatures[1]
    assert name == WITNESS == "sealpress.witness"
    assert id_ == hashlib.sha256(b"sealpress.witness\n\x04" + OTHER.public).digest()[:4]
    assert signature[:8] == (1_795_435_215).to_bytes(8, "big")
    assert signature[8:] == OTHER.sign(b"cosignature/v1\ntime 1795435215\n" + TEXT.encode())
    assert cosigned_at(note, OTHER.public) == 1_795_435_215
    assert note.first().written() == NOTE
    assert Note.parsed(note.written()) == note


def test_a_cosignature_of_another_or_altered_is_refused() -> None:
    note = cosigned(Note.parsed(NOTE), 7, OTHER)
    name, id_, signature = note.signatures[1]
    later = Note(TEXT, (note.signatures[0], (name, id_, (8).to_bytes(8, "big") + signature[8:])))
    of_a_day_key = Note(TEXT, (note.signatures[0], (DAY, id_, signature)))
    for found in (Note.parsed(NOTE), later, of_a_day_key, Note(f"x{TEXT}", note.signatures)):
        with pytest.raises(Unauthentic):
            cosigned_at(found, OTHER.public)
    with pytest.raises(Unauthentic):
        cosigned_at(note, SIGNER.public)
    with pytest.raises(Unauthentic):
        note.check(DAY, SIGNER.public)


# files of notes


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "notes"


def read(path: Path, size: int | None = None) -> list[tuple[str, int]]:
    return list(notes(path, "truncated", "malformed", size))


def refusal(path: Path) -> str:
    with pytest.raises(Broken) as broken:
        read(path)
    return broken.value.code


def test_a_file_is_cut_into_its_notes(path: Path) -> None:
    data = (NOTE + "\n").encode()
    path.write_bytes(data * 3)
    assert read(path) == [(NOTE, len(data) * number) for number in (1, 2, 3)]
    assert read(path, 2 * len(data)) == read(path, 3 * len(data) - 1) == [(NOTE, len(data)), (NOTE, 2 * len(data))]
    path.write_bytes(b"")
    assert read(path) == []


def test_a_file_that_ends_inside_a_note_is_torn(path: Path) -> None:
    data = (NOTE + "\n").encode()
    for end in range(1, len(data)):
        path.write_bytes(data + data[:end])
        assert refusal(path) == "truncated", end


@pytest.mark.parametrize(
    "data",
    [b"\n", b"x\n\n\n", b"\xff\n\ny\n\n", b"x" * 1_000_001, b"x\n" * 2_001],
    ids=["no text", "no signature", "no text of Unicode", "a long line", "many lines"],
)
def test_what_is_no_file_of_notes_is_refused(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    assert refusal(path) == "malformed"


def test_what_comes_while_a_file_is_read_is_left_out(path: Path) -> None:
    data = (NOTE + "\n").encode()
    path.write_bytes(data + data[:-1])
    reader = notes(path, "truncated", "malformed")
    assert next(reader) == (NOTE, len(data))
    path.write_bytes(data * 3)
    assert list(reader) == []


@pytest.mark.parametrize(
    "put",
    [lambda path: path.mkdir(), os.mkfifo, lambda path: path.symlink_to(__file__), lambda path: None],
    ids=["folder", "pipe", "link", "nothing"],
)
def test_only_a_regular_file_is_opened(path: Path, put: Callable[[Path], None]) -> None:
    put(path)
    with pytest.raises(FileNotFoundError):
        regular(path)
    with pytest.raises(FileNotFoundError):
        read(path)
    with pytest.raises(FileNotFoundError):
        regular(Path(__file__) / "below a file")
