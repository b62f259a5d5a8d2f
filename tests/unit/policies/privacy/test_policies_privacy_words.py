"""Words before and behind numbers: one pass over all of them against looking for each."""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import product

import pytest

from policies.privacy.context import REACH, VOCABULARY, Context, Weights
from policies.privacy.words import SPACES, Words, announced, joined

NUMBER = "4155552671"
WORDS = sorted({word for words in VOCABULARY.values() for word in words})


def told(text: str, start: int) -> set[str]:
    """The vocabularies of which a word stands in reach before the number, by looking for each."""
    window = f" {text[max(0, start - REACH) : start].lower().translate(SPACES)} "
    return {name for name, words in VOCABULARY.items() if any(word in window for word in words)}


def heard(text: str, start: int) -> set[str]:
    context = Context(text, doubtful=True)
    weights = {name: Weights(name, 1, 0, 0) for name in VOCABULARY}
    return {name for name, one in weights.items() if context.confidence(start + 1, one) == 1}


def misheard(texts: Iterable[str]) -> list[str]:
    return [text for text in texts if heard(text, text.index(NUMBER)) != told(text, text.index(NUMBER))]


@pytest.mark.parametrize("text", ["{} N", "a {}: N", "{}.N", "x{} N", "{}x N", "\u8bf7{}N", "{} of the ward is N"])
def test_one_pass_hears_what_looking_for_each_finds(text: str) -> None:
    assert misheard(text.replace("{}", word.strip()).replace("N", NUMBER) for word in WORDS) == []


def test_two_words_are_both_heard() -> None:
    pairs = product(WORDS, WORDS[::5])
    assert misheard(f"{first.strip()} {second.strip()} {NUMBER}" for first, second in pairs) == []


def test_a_word_out_of_reach_is_not_heard() -> None:
    for gap in (REACH - 6, REACH - 5):
        text = f"phone{'.' * gap}{NUMBER}"
        assert heard(text, 5 + gap) == ({"phone"} if gap + 5 <= REACH else set())


def test_words_are_bounded_where_they_say_so() -> None:
    words = Words((" ring ", "card", "social sec"))
    assert words.ends("spring rings ring") == [17]
    assert words.ends("cards cardigan") == [4, 10]
    assert words.ends("social-sec") == [10]
    assert words.ends("#ring #1 ring#2") == [5]
    assert words.ends("socialsec") == words.ends("") == []


def test_a_number_is_announced_by_the_word_before_it() -> None:
    text = "born 1, 2 and born 3, x 4; born born 5 born"
    numbers = re.compile(r"[0-9]")
    spans = announced(text, text, Words((" born ",)), numbers, 6)
    assert [text[start:end] for start, end in spans] == ["1", "3", "5"]
    assert list(announced("born " + "." * 9 + "1", "born " + "." * 9 + "1", Words((" born ",)), numbers, 6)) == []


def test_stretches_are_joined() -> None:
    assert list(joined([(-3, 2), (2, 5), (4, 6), (9, 9)])) == [(0, 6), (9, 9)]
    assert list(joined([])) == []
