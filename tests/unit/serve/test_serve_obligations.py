"""Obligations as headers: in ASCII, on one line, and read back as they were."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.facts import Obligation
from serve.obligations import carried, headers


def field(text: str) -> str:
    return headers([Obligation(kind="ai_notice", text=text)])["X-AI-Notice"]


def read(value: str) -> str:
    """As RFC 9651 (section 4.2.10) parses a Display String; anything else stands as it is."""
    if not value.startswith('%"'):
        return value
    assert value.endswith('"')
    inside = value[2:-1]
    assert re.fullmatch(r"(?:[ !#$&-~]|%[0-9a-f]{2})*", inside)
    return unquote_to_bytes(inside).decode()


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("redact", "X-Redacted"),
        ("pseudonymise", "X-Pseudonymised"),
        ("attribution", "X-Attribution"),
        ("ai_notice", "X-AI-Notice"),
    ],
)
def test_each_obligation_has_its_header(kind: Any, name: str) -> None:
    assert headers([Obligation(kind=kind, text="a text")]) == {name: "a text"}
    assert headers([Obligation(kind=kind)]) == {}


def test_no_obligation_no_header() -> None:
    assert headers([]) == {}
    assert carried([]) == {}


def test_the_body_says_what_the_answer_has_to_and_not_what_was_done_to_the_input() -> None:
    done = [Obligation(kind="redact", text="email"), Obligation(kind="ai_notice")]
    said = [Obligation(kind="attribution", text="f\u00fcr alle"), Obligation(kind="ai_notice", text="a machine")]
    assert carried(done) == {}
    assert carried([*done, *said]) == {"attribution": "f\u00fcr alle", "ai_notice": "a machine"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("You are interacting with an AI system.", "You are interacting with an AI system."),
        ("m; licence: MIT, https://opensource.org/license/mit", "m; licence: MIT, https://opensource.org/license/mit"),
        ("50% of it", "50% of it"),
        ('"quoted"', '"quoted"'),
        ("f\u00fcr", '%"f%c3%bcr"'),
        ('%"f%c3%bcr"', '%"%25%22f%25c3%25bcr%22"'),
        (" a", '%" a"'),
        ("a ", '%"a "'),
        ("a\r\nb", '%"a%0d%0ab"'),
        ('100 % f\u00fcr "alle"', '%"100 %25 f%c3%bcr %22alle%22"'),
    ],
)
def test_a_text_stands_as_it_is_or_encoded(text: str, expected: str) -> None:
    assert field(text) == expected


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_every_text_is_one_line_of_ascii_and_comes_back(text: str) -> None:
    value = field(text)
    assert re.fullmatch(r"[ -~]+", value)
    assert value == value.strip()
    assert read(value) == text
