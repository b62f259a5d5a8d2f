"""Signed notes: one spelling each, one signer, and heads that say nothing but what was signed."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import replace

import pytest

from compliance.crypto import Signer, Unauthentic
from compliance.verify.note import Head, opened, signed

SIGNER = Signer(bytes(range(32)))
TEXT = "sealpress.journal/0\nfive\nlines\n"
NOTE = signed(TEXT, SIGNER)
HEAD = Head("origin", 7, bytes(range(32)), 1_700_000_000, '{"allowed":3,"refused":1,"rules":{"base.purpose":1}}')


def test_a_note_is_what_c2sp_describes() -> None:
    """c2sp.org/signed-note: text, empty line, em dash, key name, base64 of key id and signature."""
    text, _, line = NOTE.partition("\n\n")
    dash, name, encoded = line.removesuffix("\n").split(" ")
    raw = base64.b64decode(encoded, validate=True)
    key_id = hashlib.sha256(name.encode() + b"\n\x01" + SIGNER.public).digest()[:4]
    assert (text + "\n", dash, name) == (TEXT, "\u2014", "sealpress.journal")
    assert (raw[:4], raw[4:]) == (key_id, SIGNER.sign(TEXT.encode()))


def test_a_note_opens_with_the_key_of_its_signer_only() -> None:
    assert opened(NOTE, SIGNER.public) == TEXT
    for other in (Signer.generate().public, bytes(32), b""):
        with pytest.raises(Unauthentic):
            opened(NOTE, other)


def test_every_other_character_is_refused() -> None:
    for position, character in enumerate(NOTE):
        for other in (chr(ord(character) ^ 1), "", "\n", " ", "=", character * 2):
            altered = NOTE[:position] + other + NOTE[position + 1 :]
            if altered == NOTE:
                continue
            with pytest.raises(Unauthentic) as refused:
                opened(altered, SIGNER.public)
            assert refused.value.code == "signature"


_BASE, _, _LINE = NOTE.rpartition(" ")


@pytest.mark.parametrize(
    "note",
    [
        "",
        "\n",
        TEXT,
        TEXT + "\n",
        NOTE.removesuffix("\n"),
        NOTE + "\n",
        NOTE + NOTE,
        NOTE + NOTE.split("\n\n")[1],
        "\ufeff" + NOTE,
        NOTE.replace("\n", "\r\n"),
        NOTE.replace("\u2014", "-"),
        NOTE.replace("sealpress.journal ", "someone.else "),
        f"{_BASE} \n",
        f"{_BASE} {_LINE[:4]}\n",
        f"{_BASE} {_LINE.strip()}=\n",
        f"{_BASE} {base64.urlsafe_b64encode(bytes([251] * 68)).decode()}\n",
        f"{_BASE} {base64.b64encode(base64.b64decode(_LINE) + bytes(1)).decode()}\n",
    ],
)
def test_another_spelling_of_a_note_is_refused(note: str) -> None:
    with pytest.raises(Unauthentic) as refused:
        opened(note, SIGNER.public)
    assert refused.value.code == "signature"


def test_a_text_with_a_signature_line_of_its_own_is_not_taken_apart_wrongly() -> None:
    inner = NOTE + "more\n"
    with pytest.raises(Unauthentic):
        opened(signed(inner, SIGNER), SIGNER.public)


def test_a_head_reads_back() -> None:
    assert Head.parsed(HEAD.text()) == HEAD
    assert HEAD.text() == (
        "origin\n7\nAAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\nat 1700000000\n"
        'counters {"allowed":3,"refused":1,"rules":{"base.purpose":1}}\n'
    )
    empty = replace(HEAD, size=0, at=0, counters='{"allowed":0,"refused":0,"rules":{}}')
    assert Head.parsed(empty.text()) == empty


ROOT = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
COUNTERS = '{"allowed":3,"refused":1,"rules":{}}'


@pytest.mark.parametrize(
    ("size", "root", "at", "counters"),
    [
        ("1_0", ROOT, "at 1", COUNTERS),
        ("+7", ROOT, "at 1", COUNTERS),
        ("-7", ROOT, "at 1", COUNTERS),
        ("07", ROOT, "at 1", COUNTERS),
        (" 7", ROOT, "at 1", COUNTERS),
        ("\u0667", ROOT, "at 1", COUNTERS),
        ("\uff17", ROOT, "at 1", COUNTERS),
        ("7.0", ROOT, "at 1", COUNTERS),
        ("", ROOT, "at 1", COUNTERS),
        ("9" * 5000, ROOT, "at 1", COUNTERS),
        ("7", "", "at 1", COUNTERS),
        ("7", "AAEC", "at 1", COUNTERS),
        ("7", ROOT[:-1], "at 1", COUNTERS),
        ("7", ROOT[:-2] + "9=", "at 1", COUNTERS),
        ("7", ROOT + ROOT, "at 1", COUNTERS),
        ("7", ROOT, "1", COUNTERS),
        ("7", ROOT, "at at 1", COUNTERS),
        ("7", ROOT, "at -1", COUNTERS),
        ("7", ROOT, "at 1_000", COUNTERS),
        ("7", ROOT, "at \u0661", COUNTERS),
        ("7", ROOT, "at 1e9", COUNTERS),
        ("7", ROOT, "at 1", COUNTERS.replace("3", "-3")),
        ("7", ROOT, "at 1", COUNTERS.replace("3", "3.0")),
        ("7", ROOT, "at 1", COUNTERS.replace("3", "true")),
        ("7", ROOT, "at 1", COUNTERS.replace("3", '"3"')),
        ("7", ROOT, "at 1", COUNTERS.replace("3", "NaN")),
        ("7", ROOT, "at 1", COUNTERS.replace("{}", "[]")),
        ("7", ROOT, "at 1", COUNTERS.replace("{}", '{"a":-1}')),
        ("7", ROOT, "at 1", COUNTERS.replace("{}", '{"a":null}')),
        ("7", ROOT, "at 1", COUNTERS.replace('"allowed":3,', "")),
        ("7", ROOT, "at 1", COUNTERS.replace("}}", '},"more":1}')),
        ("7", ROOT, "at 1", "[]"),
        ("7", ROOT, "at 1", "null"),
        ("7", ROOT, "at 1", "{"),
        ("7", ROOT, "at 1", ""),
        ("7", ROOT, "at 1", "[" * 100_000),
        ("7", ROOT, "at 1", COUNTERS.replace("3", "9" * 5000)),
    ],
)
def test_a_head_that_the_journal_would_not_have_written_is_refused(
    size: str, root: str, at: str, counters: str
) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - of whatever step found it
        Head.parsed(f"origin\n{size}\n{root}\n{at}\ncounters {counters}\n")


@pytest.mark.parametrize("text", ["", "\n", HEAD.text() + "\n", HEAD.text()[:-1], "x\n" + HEAD.text(), "a\nb\nc\nd\n"])
def test_a_head_has_five_lines(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - of whatever step found it
        Head.parsed(text)
