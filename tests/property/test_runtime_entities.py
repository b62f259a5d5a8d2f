"""Whatever the text, the tokenizer and the labels: entities lie in the text, and windows leave nothing out."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

from toolkit.runtime.entities import OVERLAP, EntityReader
from toolkit.runtime.inputs import TextInput

LABELS = ("O", "B-PER", "I-PER", "L-PER", "U-PER", "B-LOC", "I-LOC")
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=60) | st.text(
    st.sampled_from("aB ß1.\u200b\u0301ﬁ界ก한👩\t\n"), max_size=60
)


def tokenizers() -> list[bytes]:
    """By bytes, by characters, and by characters of a normal form that is longer or shorter than the text."""
    made = []
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    for normalizer, pre_tokenizer in (
        (None, pre_tokenizers.ByteLevel(add_prefix_space=False)),
        (normalizers.NFKD(), pre_tokenizers.ByteLevel(add_prefix_space=True)),
        (normalizers.BertNormalizer(lowercase=True), pre_tokenizers.ByteLevel(add_prefix_space=False)),
    ):
        tokenizer = Tokenizer(models.BPE({one: id for id, one in enumerate(alphabet)}, []))
        tokenizer.pre_tokenizer = pre_tokenizer
        if normalizer is not None:
            tokenizer.normalizer = normalizer
        made.append(tokenizer.to_str().encode())
    return made


TOKENIZERS = tokenizers()


def read(reader: EntityReader, text: str, logits: np.random.Generator) -> tuple[list[Any], list[Any]]:
    windows = list(reader.windows(text))
    answers: list[Any] = []
    for window in windows:
        feeds = reader.feeds([window])
        size = feeds["input_ids"].size
        answers += list(reader.answers([logits.normal(size=(1, size, len(LABELS))).astype(np.float32)], feeds))
    return windows, answers


@given(TEXTS, st.sampled_from(TOKENIZERS), st.integers(1, 40), st.integers(0, 2**32 - 1))
def test_entities_lie_in_the_text_in_order_and_without_overlap(
    text: str, tokenizer: bytes, size: int, seed: int
) -> None:
    reader = EntityReader(tokenizer, TextInput(max_tokens=size, pooling="tokens", normalise=False, pad_id=0), LABELS)
    _, answers = read(reader, text, np.random.default_rng(seed))
    assert len(answers) == 1
    [entities] = answers
    for one in entities:
        assert 0 <= one.start < one.end <= len(text)
        assert text[one.start : one.end].strip() == text[one.start : one.end]
        assert one.label in ("PER", "LOC")
        assert 0 < one.score <= 1
    assert all(left.end <= right.start for left, right in pairwise(entities))


@given(TEXTS, st.sampled_from(TOKENIZERS), st.integers(1, 200))
def test_windows_cover_every_token_and_share_some(text: str, tokenizer: bytes, size: int) -> None:
    reader = EntityReader(tokenizer, TextInput(max_tokens=size, pooling="tokens", normalise=False, pad_id=0), LABELS)
    windows = list(reader.windows(text))
    whole = Tokenizer.from_str(tokenizer.decode()).encode(text).ids
    covered: list[int] = []
    for window in windows:
        assert window.first <= len(covered)
        assert list(window.ids) == whole[window.first : window.first + size]
        covered += window.ids[len(covered) - window.first :]
    assert covered == whole
    assert [window.last for window in windows] == [False] * (len(windows) - 1) + [True]
    for left, right in pairwise(windows):
        assert left.first + size - right.first == min(OVERLAP, size // 2)


@given(TEXTS, st.sampled_from(TOKENIZERS), st.integers(1, 40))
def test_a_label_by_token_is_the_same_in_windows_of_any_size(text: str, tokenizer: bytes, size: int) -> None:
    """Where the labels do not depend on the neighbours, the windows do not show."""

    def told(max_tokens: int) -> Any:
        made = TextInput(max_tokens=max_tokens, pooling="tokens", normalise=False, pad_id=0)
        reader = EntityReader(tokenizer, made, LABELS)
        answer: Any = None
        for window in reader.windows(text):
            feeds = reader.feeds([window])
            chosen = feeds["input_ids"] * 7919 % len(LABELS)
            answer = reader.answers([np.eye(len(LABELS), dtype=np.float32)[chosen] * 9], feeds)
        return answer[0]

    assert told(size) == told(10_000)
