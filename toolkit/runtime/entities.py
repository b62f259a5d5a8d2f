"""Entities: what a model that labels tokens finds in a text, told in the characters of the text as it came.

A text that is longer than the model takes is read in windows that overlap, one after the other, so that nothing is
skipped and a long text takes no more memory than a short one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer

from policies.payload import InputError, Payload
from toolkit.runtime.inputs import TextInput
from toolkit.runtime.readers import Outputs, checked_texts, read_tokenizer
from toolkit.runtime.session import Feeds, ModelError

__all__ = ["ENTITIES", "OUTSIDE", "Entity", "EntityReader", "Tag", "tags"]

ENTITIES = "token-classification"  # the task, as manifests name it
OVERLAP = 64  # tokens that two windows share, where the model takes at least twice as many
OUTSIDE = "O"


class Entity(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`text[start:end]`, in characters (Unicode code points), is a `label`. `score` is the mean over its words of the
    probability that the model gives, between 0 and 1."""

    start: int
    end: int
    label: str
    score: float


class Tag(NamedTuple):
    """A label of a token: whether it begins an entity, goes on with one, ends it, or is one by itself; and of what kind
    it is, empty outside of entities."""

    place: str
    kind: str


def tags(labels: Sequence[str]) -> tuple[Tag, ...]:
    """What labels mean: BIO, BILOU or BIOES where all but "O" have such a prefix, else names of kinds as they are."""
    parsed = [_PREFIXED.fullmatch(label) for label in labels]
    prefixed = all(match or label == OUTSIDE for match, label in zip(parsed, labels, strict=True))
    return tuple(
        Tag("O", "") if label == OUTSIDE else Tag(match[1], match[2]) if prefixed and match else Tag("I", label)
        for label, match in zip(labels, parsed, strict=True)
    )


_PREFIXED = re.compile("([BILUES])[-_](.+)", re.DOTALL)


class Window(NamedTuple):
    """Some tokens of a text, from number `first` on, as ids of the model."""

    read: _Read
    first: int
    ids: tuple[int, ...]
    last: bool


class EntityReader:
    """Texts, in a payload {"texts": [...]}, to one list of entities each, in order and without overlap.

    An item is a window. The last window of a text answers for all of it, the others answer nothing.
    """

    together = False

    def __init__(self, tokenizer: bytes, text: TextInput, labels: Sequence[str]) -> None:
        """`labels` name what the model gives for a token, in order. Raises ModelError."""
        self._tokenizer = read_tokenizer(tokenizer)
        self._tokenizer.no_truncation()
        self._before, self._after = _around(self._tokenizer)
        self._room = text.max_tokens - len(self._before) - len(self._after)
        if self._room < 1 or not labels:
            raise ModelError("model_malformed", "the model has no labels, or no room for a token of a text")
        self._pad_id = text.pad_id
        self._tags = tags(labels)

    def items(self, payload: Payload) -> list[Window]:
        """See Reader."""
        return [window for text in _texts(payload) for window in self.windows(text)]

    def windows(self, text: str) -> Iterator[Window]:
        """The windows of a text, which cover all of its tokens; at least one."""
        encoded = _encoded(self._tokenizer, text, special=False)
        ids = encoded.ids
        read = _Read(text, encoded.offsets)
        step = self._room - min(OVERLAP, self._room // 2)
        first = 0
        while first + self._room < len(ids):
            yield Window(read, first, tuple(ids[first : first + self._room]), last=False)
            first += step
        yield Window(read, first, tuple(ids[first:]), last=True)

    def feeds(self, items: Sequence[Window]) -> dict[str, NDArray[Any]]:
        """Token ids, attention mask and token types of the one window, each int64 (1, tokens), and the window.

        Raises InputError for several: what runs with another window would change by it.
        """
        if len(items) != 1:
            raise InputError("input_type", "a window of a text runs alone")
        [window] = items
        ids = np.array([[*self._before, *window.ids, *self._after] or [self._pad_id]], dtype=np.int64)
        return {
            "input_ids": ids,
            "attention_mask": np.ones_like(ids),
            "token_type_ids": np.zeros_like(ids),
            "window": _object(window),
        }

    def answers(self, outputs: Sequence[NDArray[Any]], feeds: Feeds) -> NDArray[Any]:
        """The entities of the text as a list, (1,) of objects, after its last window; before that nothing, (0,).

        Raises ModelError for numbers that are no probabilities of the labels.
        """
        [window] = feeds["window"]
        logits = outputs[0]
        if logits.shape != (*feeds["input_ids"].shape, len(self._tags)) or not np.isfinite(logits).all():
            raise ModelError("model_malformed", "the model does not give a number for each token and label")
        start = len(self._before)
        window.read.take(window, logits[0, start : start + len(window.ids)].astype(np.float32))
        return _object(window.read.entities(self._tags)) if window.last else np.empty(0, dtype=object)

    def named(self, outputs: Mapping[str, NDArray[Any]], feeds: Feeds) -> Outputs:
        """`entities`: what `answers` gives."""
        return {"entities": self.answers(list(outputs.values()), feeds)}

    def size(self, item: Window) -> int:
        """Tokens."""
        return len(item.ids)

    def cost(self, payload: Payload) -> int:
        """Characters: nothing is made into tokens for that."""
        return sum(map(len, _texts(payload)))

    def usage(self, feeds: Feeds) -> dict[str, int]:
        """See Reader."""
        [window] = feeds["window"]
        return {"texts": int(window.last), "tokens": feeds["input_ids"].size}


class _Word:
    """Tokens that stand together; the first one says what they are."""

    def __init__(self, start: int, end: int, tag: Tag, score: float) -> None:
        self.start = start
        self.end = end
        self.tag = tag
        self.score = score


class _Read:
    """What the windows of a text gave so far: a label and its probability for each token.

    A token that stands in two windows is taken from the one in which it has more around it.
    """

    def __init__(self, text: str, spans: list[tuple[int, int]]) -> None:
        self._text = text
        self._spans = spans
        self._labels = np.zeros(len(spans), dtype=np.int64)
        self._scores = np.zeros(len(spans), dtype=np.float32)
        self._around = np.full(len(spans), -1, dtype=np.int64)

    def take(self, window: Window, logits: NDArray[np.float32]) -> None:
        """The logits (tokens, labels) of a window, in its order."""
        here = slice(window.first, window.first + len(logits))
        place = np.arange(len(logits))
        # the ends of the text cut nothing off
        left = place + (len(self._spans) if window.first == 0 else 0)
        right = place[::-1] + (len(self._spans) if window.last else 0)
        around = np.minimum(left, right)
        better = around > self._around[here]
        shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
        self._labels[here][better] = logits.argmax(axis=1)[better]
        self._scores[here][better] = (shifted.max(axis=1) / shifted.sum(axis=1))[better]
        self._around[here][better] = around[better]

    def entities(self, tags: Sequence[Tag]) -> list[Entity]:
        """The entities, in order. A word that goes on with what was not begun begins it."""
        found: list[list[_Word]] = []
        ended = True
        for word in self._words(tags):
            place, kind = word.tag
            if not kind:
                ended = True
                continue
            goes_on = not ended and place in "ILE" and found[-1][-1].tag.kind == kind
            if goes_on:
                found[-1].append(word)
            else:
                found.append([word])
            ended = place in "LUES"
        return [entity for words in found if (entity := self._entity(words)) is not None]

    def _words(self, tags: Sequence[Tag]) -> Iterator[_Word]:
        word = None
        for number, (start, end) in enumerate(self._spans):
            if not self._text[start:end].strip():
                continue
            if word is not None and (start < word.end or (start == word.end and self._within(start))):
                word.end = max(word.end, end)
                continue
            if word is not None:
                yield word
            word = _Word(start, end, tags[self._labels[number]], float(self._scores[number]))
        if word is not None:
            yield word

    def _within(self, place: int) -> bool:
        """Whether a word goes on at this place of the text; scripts without spaces have no words to go on."""
        left, right = self._text[place - 1], self._text[place]
        return left.isalnum() and right.isalnum() and not _UNSPACED.match(left) and not _UNSPACED.match(right)

    def _entity(self, words: list[_Word]) -> Entity | None:
        part = self._text[words[0].start : words[-1].end]
        # tokens of some tokenizers hold the space before a word
        start = words[0].start + len(part) - len(part.lstrip())
        score = sum(word.score for word in words) / len(words)
        return Entity(start=start, end=start + len(part.strip()), label=words[0].tag.kind, score=round(score, 4))


# Thai, Lao, Burmese, Khmer, Japanese, Chinese
_UNSPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u31f0-\u31ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"
)


def _texts(payload: Payload) -> list[str]:
    value = payload.value
    return checked_texts(value.get("texts") if isinstance(value, dict) else None)


def _encoded(tokenizer: Tokenizer, text: str, *, special: bool) -> Encoding:
    try:
        return tokenizer.encode(text, add_special_tokens=special)
    except Exception as error:  # noqa: BLE001 - tokenizers raises bare exceptions
        raise ModelError("model_malformed", f"the tokenizer does not take a text ({type(error).__name__})") from None


def _around(tokenizer: Tokenizer) -> tuple[list[int], list[int]]:
    """The ids that the tokenizer puts before and behind every text."""
    probe = _encoded(tokenizer, "a", special=True)
    own = [place for place, special in enumerate(probe.special_tokens_mask) if not special]
    if not own:
        raise ModelError("model_malformed", "the tokenizer makes no token of a letter")
    return probe.ids[: own[0]], probe.ids[own[-1] + 1 :]


def _object(value: object) -> NDArray[Any]:
    """An array (1,) that holds the value as it is."""
    array = np.empty(1, dtype=object)
    array[0] = value
    return array
