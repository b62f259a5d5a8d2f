"""A text that comes in pieces is masked as it is when it comes as a whole, however it is cut, and never far behind."""

from __future__ import annotations

import json

from hypothesis import example, given, settings
from hypothesis import strategies as st

from policies.privacy import MASK, redact, scan
from policies.privacy.scanner import THRESHOLD, Detected
from policies.privacy.streaming import DELAY, STEP, WINDOW, Streamed

FOUND = [
    "+49 30 1234567", "(415) 555-2671", "4111 1111 1111 1111", "DE89 3704 0044 0532 0130 00", "536-22-1234",
    "ann@example.com", "https://a:b1c2d3@x.io", "password=a1b2c3d4e5", "110105194912313976", "203.0.114.77",
    "3c:22:fb:9a:10:4e", "AB 12 34 56 C", "X1234567L", "52.52000, 13.40500", "2001:4860:4860::8888",
    "AKIAABCDEFGHIJKLMNOP", "ghp_" + "a1" * 18, "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abcdefgh",
]  # fmt: skip
WORDS = [
    "phone", "card", "SSN", "passport", "born", "order", "patient", "The ward", "is on", "the third floor,", "office",
    "and nobody", "knows. Why", "well-known", "it's", "e.g.", "jane.doe", "在北京", "电话",
    "\uff0c他说\uff0c", "密码\uff1a",
    "Übung", "\u200b", "@", "\n", "\\n",
]  # fmt: skip
DATA = ["12.03.1980", "5 January 1980", "Jan 5", "533380006", "943 476 5919", "030", "12", "7 of 9", "13812345678"]
SEPARATORS = st.sampled_from([" ", " ", " ", ", ", "\n", "", "-", "."])


def texts(size: int) -> st.SearchStrategy[str]:
    parts = st.tuples(st.sampled_from(WORDS) | st.sampled_from(FOUND) | st.sampled_from(DATA), SEPARATORS)
    return st.lists(parts.map("".join), max_size=size).map("".join)


CUTS = st.lists(st.integers(1, 40), min_size=1, max_size=20)


def sure(text: str) -> list[Detected]:
    return [one for one in scan(text) if one.confidence >= THRESHOLD]


def streamed(text: str, cuts: list[int]) -> list[tuple[int, str]]:
    """What was handed out after so many characters; at last, what was held back."""
    masked, at = Streamed(), 0
    out: list[tuple[int, str]] = []
    while at < len(text):
        step = cuts[len(out) % len(cuts)]
        out.append((min(at + step, len(text)), masked.added(text[at : at + step])))
        at += step
    return [*out, (len(text), masked.rest())]


@settings(max_examples=150, deadline=None)
@given(texts(40), CUTS)
@example("Write to a@b.co" + "x" * 300, [1])
@example("phone " * 60 + "030 1234567", [7])
def test_it_is_the_redaction_of_the_whole(text: str, cuts: list[int]) -> None:
    assert "".join(piece for _, piece in streamed(text, cuts)) == redact(text, sure(text))


@settings(max_examples=60, deadline=None)
@given(
    texts(60) | st.text(st.characters(exclude_categories=["Cs"])) | st.text("0123456789 -.()+@ab\u200b\uff11/:,"), CUTS
)
def test_it_does_not_depend_on_the_cuts_and_nothing_is_left(text: str, cuts: list[int]) -> None:
    out = "".join(piece for _, piece in streamed(text, cuts))
    assert out == "".join(piece for _, piece in streamed(text, [len(text) or 1]))
    assert sure(out) == []


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from([*WORDS, *DATA]).map(lambda one: one + " "), max_size=150).map("".join), CUTS)
def test_text_without_findings_is_never_far_behind(text: str, cuts: list[int]) -> None:
    if sure(text):
        return
    handed = 0
    unseen = text.count("\u200b")
    for came, piece in streamed(text, cuts):
        handed += len(piece)
        assert came - handed < WINDOW + STEP + unseen
        assert came - handed <= DELAY
    assert handed == len(text)


@given(
    st.lists(st.sampled_from(["the", "hen", "and", "Übung", "it's", "e.g.", "why?", "(no)", "well-known"]), min_size=3)
)
def test_of_plain_words_only_the_last_few_are_held_back(words: list[str]) -> None:
    text = " ".join(words)
    handed = 0
    for came, piece in streamed(text, [1]):
        handed += len(piece)
        assert came - handed <= STEP + 2 * len("well-known ")


def test_a_mask_is_one_however_long_the_finding_is() -> None:
    for long in ("a@" + "b1b1b1." * 25 + "example.com", "ghp_" + "a1" * 100):
        text = f"It is {long} and no more."
        assert "".join(piece for _, piece in streamed(text, [5])) == f"It is {MASK} and no more."


VALUES = st.tuples(texts(6), st.sampled_from(["ann@example.com", "4111 1111 1111 1111"]), texts(4))


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.sampled_from(["name", "notes", "电话"]), VALUES, min_size=1), st.booleans(), CUTS)
@example({"电话": ("电话" * 200, "ann@example.com", "")}, True, [1])
def test_what_is_escaped_in_json_is_masked_and_it_stays_json(
    values: dict[str, tuple[str, str, str]], escaped: bool, cuts: list[int]
) -> None:
    written = {name: " ; ".join(parts).replace('"', "") for name, parts in values.items()}
    text = json.dumps(written, ensure_ascii=escaped)
    if escaped:
        text = text.replace("@", "\\u0040")
    out = "".join(piece for _, piece in streamed(text, cuts))
    assert out == redact(text, sure(text))
    told = json.loads(out)
    assert told.keys() == values.keys()
    for name, (_, secret, _) in values.items():
        assert secret not in told[name]


def test_a_key_in_a_string_of_json_is_masked_as_it_comes() -> None:
    key = "-----BEGIN PRIVATE KEY-----\n" + "Ab0/" * 400 + "\n-----END PRIVATE KEY-----\n"
    text = json.dumps({"key": key, "more": "is here"})
    pieces = streamed(text, [16])
    assert "".join(piece for _, piece in pieces) == redact(text, sure(text))
    assert not any("Ab0/" in piece for _, piece in pieces)
