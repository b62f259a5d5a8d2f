"""A tokenizer with fewer tokens: nothing becomes unknown that was not, and what was learned from is split as it was."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.toolkit.compress.steps.spelling import PARTS, made, read_by, unknown
from toolkit.compress.vocabulary import trimmed

# hostile ones too: of any characters, and put together from tokens, marks of tokens and what they hold
PIECES = st.sampled_from(
    [*PARTS, *"abcdeghinrst中дé", "##", "##ing", "[UNK]", "[CLS]", "[NEW]", "▁", " ", "x", "\0", "Ⅳ"]
)
HOSTILE = st.one_of(st.text(max_size=40), st.lists(PIECES, max_size=14).map("".join))


@pytest.mark.parametrize("kind", ["WordPiece", "Unigram", "bytes", "BPE"])
@settings(max_examples=40, deadline=None)
@given(learned=st.lists(HOSTILE, min_size=1, max_size=3), others=st.lists(HOSTILE, max_size=4))
def test_no_text_is_less_known(kind: str, learned: list[str], others: list[str]) -> None:
    texts = made(kind, learned)
    found = trimmed(texts)
    before, after = read_by(texts), read_by(found.texts)
    for text in (*learned, *others):
        assert unknown(after, text) <= unknown(before, text)
    for text in learned:
        assert [found.rows[id] for id in after.encode(text).ids] == before.encode(text).ids


@pytest.mark.parametrize("kind", ["WordPiece", "Unigram", "BPE"])
@settings(max_examples=40, deadline=None)
@given(others=st.lists(HOSTILE, max_size=4))
def test_no_text_is_less_known_in_another_script(kind: str, others: list[str]) -> None:
    texts = made(kind)
    found = trimmed(texts, ("cyrillic",))
    before, after = read_by(texts), read_by(found.texts)
    for text in others:
        assert unknown(after, text) <= unknown(before, text)
