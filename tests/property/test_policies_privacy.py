"""Generated addresses and numbers in arbitrary text are found; spans are those of the text as it came."""

from __future__ import annotations

import string

from hypothesis import given, settings
from hypothesis import strategies as st

from policies.privacy import categories, redact, scan
from policies.privacy.context import VOCABULARY
from policies.privacy.scanner import THRESHOLD


def speaks_of_nothing_else(text: str) -> bool:
    return not any(word.strip() in text.lower() for word in VOCABULARY["other"])


# any text without digits, @ and signs of other numbers; a space keeps it apart from what is to be found
OUTSIDE = st.text(
    st.characters(exclude_categories=["Cs", "Nd", "No", "Nl", "Cf"], exclude_characters="@\uff20\ufe6b#+(.-/:")
).filter(speaks_of_nothing_else)
HAN = st.text(st.characters(min_codepoint=0x4E00, max_codepoint=0x9FFF), max_size=10).filter(speaks_of_nothing_else)
AROUND = st.tuples(OUTSIDE.map(lambda text: text + " "), OUTSIDE.map(lambda text: " " + text)) | st.tuples(HAN, HAN)
UNSEEN = st.sampled_from(["\u200b", "\u200d", "\u00ad", "\ufeff", "\u2060", "\ufe0f"])

LETTERS = st.text(string.ascii_letters + string.digits, min_size=1, max_size=12)
LABEL = st.text(string.ascii_lowercase + string.digits, min_size=1, max_size=12)
TOP = st.sampled_from(["com", "org", "net", "de", "uk", "fr", "es", "it", "cn", "in", "io", "info", "online"])
EMAIL = st.builds(
    lambda names, joint, labels, top: joint.join(names) + "@" + ".".join([*labels, top]),
    st.lists(LETTERS, min_size=1, max_size=3), st.sampled_from(".-_+"), st.lists(LABEL, min_size=1, max_size=3), TOP,
)  # fmt: skip


def digits(size: int, first: str = string.digits) -> st.SearchStrategy[str]:
    return st.tuples(st.sampled_from(first), st.text(string.digits, min_size=size - 1, max_size=size - 1)).map("".join)


def with_luhn(body: str) -> str:
    total = sum(sum(divmod(int(digit) * (2 - place % 2), 10)) for place, digit in enumerate(reversed(body)))
    return body + str(-total % 10)


def card(prefix: str, size: int) -> st.SearchStrategy[str]:
    return digits(size - len(prefix) - 1).map(lambda rest: with_luhn(prefix + rest))


SIXTEEN = st.sampled_from(["4", "51", "55", "2221", "2720", "6011", "65", "3528", "62"]).flatmap(
    lambda one: card(one, 16)
)
FOURS = st.tuples(SIXTEEN, st.sampled_from(" -")).map(
    lambda both: both[1].join(both[0][i : i + 4] for i in (0, 4, 8, 12))
)
AMEX = st.sampled_from(["34", "37"]).flatmap(lambda one: card(one, 15))
CARD = SIXTEEN | FOURS | AMEX | AMEX.map(lambda one: f"{one[:4]} {one[4:10]} {one[10:]}")

PHONE = st.one_of(
    st.tuples(digits(3, "23456789"), digits(3, "23456789"), digits(4)).map("+1 {0[0]} {0[1]} {0[2]}".format),
    st.tuples(digits(3, "6"), digits(3, "23456789"), digits(4)).filter(lambda p: p[0][1] != "9").map(
        "({0[0]}) {0[1]}-{0[2]}".format),
    st.tuples(digits(3, "123456789"), digits(7, "23456789")).map("+49 {0[0]} {0[1]}".format),
    st.tuples(digits(3, "123456789"), digits(7, "23456789")).map("0{0[0]}/{0[1]}".format),
    digits(10, "7").map("+44{}".format),
    digits(9, "6").map("+33-{}".format),
    digits(9, "3456789").map("+861{}0".format).map(lambda number: number[:14]),
    digits(9, "3456789").map("1{}0".format),
    digits(10, "6789").map("+91 {}".format),
    st.tuples(digits(4, "2"), digits(4)).map("020 {0[0]} {0[1]}".format),
)  # fmt: skip


def spans(text: str, category: str) -> list[str]:
    return [
        text[one.start : one.end]
        for one in scan(text)
        if (one.category, one.confidence >= THRESHOLD) == (category, True)
    ]


@given(AROUND, EMAIL)
def test_an_email_is_found(around: tuple[str, str], data: str) -> None:
    assert spans(data.join(around), "email") == [data]


@given(AROUND, CARD)
def test_a_card_is_found(around: tuple[str, str], data: str) -> None:
    assert spans(data.join(around), "card") == [data]


@given(AROUND, PHONE)
def test_a_phone_number_is_found(around: tuple[str, str], data: str) -> None:
    assert spans(data.join(around), "phone") == [data]


@given(AROUND, st.sampled_from([("email", EMAIL), ("card", CARD), ("phone", PHONE)]), UNSEEN, st.data())
def test_what_no_one_sees_does_not_hide_it(
    around: tuple[str, str], kind: tuple[str, st.SearchStrategy[str]], unseen: str, data: st.DataObject
) -> None:
    category, strategy = kind
    value = data.draw(strategy)
    place = data.draw(st.integers(1, len(value) - 1))
    split = value[:place] + unseen + value[place:]
    assert spans(split.join(around), category) == [split]


@given(AROUND, st.sampled_from([("card", CARD), ("phone", PHONE)]), st.data())
def test_full_width_characters_do_not_hide_it(
    around: tuple[str, str], kind: tuple[str, st.SearchStrategy[str]], data: st.DataObject
) -> None:
    category, strategy = kind
    wide = "".join(chr(ord(one) + 0xFEE0) if one > " " else "\u3000" for one in data.draw(strategy))
    assert spans(wide.join(around), category) == [wide]


@given(st.text(st.characters(exclude_categories=["Cs"])) | st.text("0123456789 -.()+@ab\u200b\uff11/:,", max_size=200))
def test_spans_are_ordered_apart_and_within_the_text(text: str) -> None:
    end = 0
    for one in scan(text):
        assert end <= one.start < one.end <= len(text)
        assert 0 < one.confidence <= 1
        end = one.end
    assert categories([text]) == {one.category for one in scan(text) if one.confidence >= THRESHOLD}


BAIT = st.one_of(
    st.datetimes().map(lambda at: at.isoformat(" ")),
    st.datetimes().map(lambda at: at.strftime("%d.%m.%Y %H:%M")),
    st.datetimes().map(lambda at: at.strftime("%d/%m/%Y %H%M")),
    st.uuids().map(str),
    st.binary(min_size=16, max_size=32).map(lambda data: "a" + data.hex()),
    st.floats(0, 1, exclude_min=True, exclude_max=True).map("{:.17f}".format),
    st.tuples(*[st.integers(0, 99)] * 3).map("v{0[0]}.{0[1]}.{0[2]}".format),
    st.integers(0, 10**9).map("order {}".format),
    st.integers(10**9, 2 * 10**9).map(str),
    st.lists(st.integers(0, 999), max_size=8).map(str),
    st.text(string.ascii_letters + " \n_=;{}", max_size=60),
)


@given(BAIT)
def test_bait_is_not_counted(text: str) -> None:
    assert categories([text]) == frozenset()


PIECE = st.sampled_from(
    [
        "+49 30 1234567", "4111 1111 1111 1111", "ann@example.com", "DE89 3704 0044 0532 0130 00", "536-22-1234",
        "phone", "card", "SSN", "born", "12.03.1980", "passport", "533380006", "https://a:b1c2d3@x.io",
        "password=a1b2c3d4e5", "030", "110105194912313976", "203.0.114.77", "3c:22:fb:9a:10:4e",
        "48.85841 N 2.29452 E", "NHS", "4310776442", "-", "/",
    ]
) | st.text("0123456789 -.()+@ab\u200b\uff11/:,=X", max_size=12)  # fmt: skip
JOINED = st.builds(
    lambda pieces, joint: joint.join(pieces), st.lists(PIECE, max_size=12), st.sampled_from(["", " ", ", "])
)


@settings(max_examples=400)
@given(st.lists(JOINED, max_size=3))
def test_categories_are_those_of_the_findings(texts: list[str]) -> None:
    assert categories(texts) == {one.category for text in texts for one in scan(text) if one.confidence >= THRESHOLD}


@settings(max_examples=400)
@given(JOINED | st.text(max_size=80))
def test_nothing_is_found_in_what_was_redacted(text: str) -> None:
    found = [one for one in scan(text) if one.confidence >= THRESHOLD]
    assert categories([redact(text, found)]) == frozenset()
    assert redact(text, found) == text or found
    assert categories([redact(text, scan(text))]) == frozenset()
