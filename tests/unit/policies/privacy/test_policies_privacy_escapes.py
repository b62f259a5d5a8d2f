"""What is written by numbers of characters is found as what it stands for, and masked as a whole."""

from __future__ import annotations

import json

import pytest

from policies.privacy import MASK, redact, scan
from policies.privacy.escapes import end, unescaped


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (r"a\u0040b", "a@b"),
        (r"a\\u0040b", "a@b"),  # a text within a text
        (r"a\\\\\\\\u0040b", "a@b"),
        (r"a\x40b", "a@b"),
        (r"a\u{40}b", "a@b"),
        (r"\U00000040", "@"),
        (r"\U0001d7d7\ud835\udfd7\\ud835\\udfd7", "\U0001d7d7" * 3),
        (r"\ud835\u0040\udfd7\U00110000", "\ufffd@\ufffd\ufffd"),
        (r"\u004", r"\u004"),
        (r"C:\users\x", r"C:\users\x"),
        (r"\u0040\u0041", "@A"),
        ("", ""),
    ],
)
def test_escapes_are_what_they_stand_for(written: str, read: str) -> None:
    found, places = unescaped(written)
    assert found == read
    ends = [end(written, place) for place in places]
    # one after the other, without a gap
    assert [0, *ends] == [*places, len(written)]


def test_more_backslashes_than_texts_within_texts_have_are_left_alone() -> None:
    assert unescaped("\\" * 9 + "u0040")[0] == "\\" * 9 + "u0040"


@pytest.mark.parametrize("secret", ["jane.doe@example.org", "4111 1111 1111 1111", "DE89 3704 0044 0532 0130 00"])
@pytest.mark.parametrize("form", [r"\u{:04x}", r"\\u{:04X}", r"\x{:02x}"])
def test_what_is_escaped_is_found_and_masked_with_its_escapes(secret: str, form: str) -> None:
    for written in (
        "".join(form.format(ord(one)) for one in secret),
        "".join(one if one.isalnum() else form.format(ord(one)) for one in secret),
    ):
        text = f'{{"of": "{written}", "it": "is"}}'
        (found,) = scan(text)
        assert text[found.start : found.end] == written
        assert redact(text, scan(text)) == f'{{"of": "{MASK}", "it": "is"}}'


def test_a_mask_leaves_no_half_of_an_escape() -> None:
    for value in ('say "password=a1b2c3d4e5" now', "to\bjane@example.org\f", "\u200bjane@example.org\u200b"):
        masked = json.loads(redact(text := json.dumps({"a": value}), scan(text)))
        assert MASK in masked["a"]
        assert not scan(masked["a"])


def test_what_no_one_sees_is_not_seen_when_it_is_escaped() -> None:
    text = r"jane.doe\u200b@exam\u00adple.org"
    assert redact(text, scan(text)) == MASK
