"""Marks of generated text: they hold for one text, one model and one call, and say nothing that was altered."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from compliance.keys import from_text
from compliance.verify.errors import NotVerified
from compliance.verify.mark import MAX_MARK, Mark, packed, verify_mark
from compliance.verify.note import DAY, ROOT, Note, signed
from tests.journals import JournalBox

TEXT = "On the third floor.\n"
MODEL = "ab" * 32
GOLDEN = Path(__file__).parents[2] / "vectors" / "marks"


@pytest.fixture(scope="module")
def book(tmp_path_factory: pytest.TempPathFactory) -> JournalBox:
    return JournalBox.make(tmp_path_factory.mktemp("mark") / "box")


@pytest.fixture(scope="module")
def mark(book: JournalBox) -> Iterator[str]:
    with closing(book.journal()) as journal:
        yield journal.mark("c1", MODEL, TEXT)


def why(book: JournalBox, mark: str | bytes, text: str = TEXT) -> str:
    data = mark if isinstance(mark, bytes) else mark.encode()
    with pytest.raises(NotVerified) as refused:
        verify_mark(data, book.root.public, text)
    return refused.value.failures[0].code


def test_a_mark_says_which_model_wrote_the_text_in_which_call(book: JournalBox, mark: str) -> None:
    found = verify_mark(mark.encode(), book.root.public, TEXT)
    assert (found.id, found.call, found.model) == (book.id, "c1", MODEL)
    assert found == Mark.of(book.id, found.at, "c1", MODEL, TEXT)


@pytest.mark.parametrize(
    "text", ["", "On the third floor.", "On the third floor.\n\n", "On the third floor\n", "\ud800"]
)
def test_it_holds_for_no_other_text(book: JournalBox, mark: str, text: str) -> None:
    assert why(book, mark, text) == "mark_text"


def test_nothing_of_it_can_be_altered(book: JournalBox, mark: str) -> None:
    value = json.loads(mark)
    signature = value["statement"].rpartition(" ")[2].strip()
    found = Note.parsed(value["statement"])
    for old, new in (("call c1", "call c2"), (MODEL, "ba" * 32), ("\nat 1", "\nat 2")):
        assert old in found.text
        altered = found._replace(text=found.text.replace(old, new)).written()
        assert why(book, packed(altered, value["certificate"])) in ("mark_signature", "mark_certificate")
    for wrong in (
        b"", b"[]", b"1", b"\xff", b"[" * 5_000, mark.encode() + b" " * MAX_MARK,
        mark.replace('"format":1', '"format":2'),
        mark.replace('"format":1', '"format":true'), mark.replace('"format":1,', ""), mark[:-1] + ',"more":1}',
        mark.replace(signature, ""), mark.replace("source train", "source Train"), mark.replace("\\nat ", "\\nat 0"),
        packed(1, value["certificate"]), packed(value["statement"], 1),  # type: ignore[arg-type]  # what a stranger may send
    ):  # fmt: skip
        assert why(book, wrong) == "mark_malformed"


def test_only_a_key_that_the_root_certified_for_the_day_makes_one(book: JournalBox, mark: str) -> None:
    value = json.loads(mark)
    statement = Note.parsed(value["statement"]).text
    assert why(book, packed(signed(statement, DAY, book.root), value["certificate"])) == "mark_signature"
    assert why(book, packed(value["statement"], signed(statement, ROOT, book.root))) == "mark_certificate"
    assert why(book, packed(value["statement"], "")) == "mark_certificate"
    assert why(JournalBox.make(book.folder.parent / "other"), mark) == "mark_certificate"


def test_the_golden_mark_still_holds() -> None:
    root = from_text((GOLDEN / "format-1.root").read_text("ascii").strip())
    text = (GOLDEN / "format-1.txt").read_bytes().decode()
    assert verify_mark((GOLDEN / "format-1.json").read_bytes(), root, text).call == "c1"
