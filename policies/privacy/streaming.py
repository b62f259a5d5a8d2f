"""Personal data in a text that is still being written: what is handed out of it, and how far that stays behind.

A piece of a finding looks like nothing. So text is held back until no more of it could make it a part of one: words
that are letters alone go after the next one, anything else after NEAR characters at a space, and after WINDOW wherever
it stands. Where that is decided is a matter of the text alone, in steps, and not of the pieces in which it came.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple
from unicodedata import is_normalized

from policies.privacy.credentials import NEEDLES, begun
from policies.privacy.redaction import MASK, MAX_PASSES
from policies.privacy.scanner import THRESHOLD, Detected, form, scan

__all__ = ["DELAY", "Streamed"]

STEP = 16  # characters after which it is looked at again
NEAR = 160  # characters in which what has spaces in it is whole: a number, and one that shows once that is masked
WINDOW = 256  # characters in which anything else is that ends at all
BEFORE = 256  # characters before, whose words say what a number is
MOST = 3_200  # characters held back where most of them are such that no one sees; as long are WINDOW that are escaped
LONGEST = 8_200  # characters of the longest that is known for what it is before its end

DELAY = MOST + STEP  # the most characters that are ever held back; WINDOW + STEP of those that can be seen
UNREAD = "unreadable"  # the category of what is masked since it is too long to be looked at


class _Span(NamedTuple):
    start: int
    end: int
    category: str


class Streamed:
    """A text piece by piece, with a mask in the place of every finding: for what is decided within the window, that of
    `redact` over the whole text. What begins like a credential and does not end within it is masked as it comes.

    `found` counts what was masked, by category.
    """

    def __init__(self) -> None:
        self.found: Counter[str] = Counter()
        self._waiting = ""
        self._kept = ""
        self._done = 0  # up to where in `_kept` it was handed out, or masked
        self._masked: int | None = None  # where the finding begins that ends at `_done`: it may yet be longer

    def added(self, piece: str) -> str:
        """What is sure with one more piece."""
        text = self._waiting + piece
        whole = len(text) // STEP * STEP
        self._waiting = text[whole:]
        return "".join([self._further(text[at : at + STEP], ended=False) for at in range(0, whole, STEP)])

    def rest(self) -> str:
        """What was held back, when nothing comes any more."""
        text, self._waiting = self._waiting, ""
        return self._further(text, ended=True)

    def _further(self, more: str, *, ended: bool) -> str:
        self._kept += more
        text, done = self._kept, self._done
        read, seen = form(text)
        sure = len(text) if ended else _sure_up_to(text, done, seen)
        due = sure if ended else _past_words(text, sure)
        if due == done:
            return ""
        parts: list[str] = []
        # where words alone go out there is nothing to find, unless they are the rest of what was masked
        looked = sure > done or self._masked is not None
        for start, end, category in self._spans(read, seen, ended=ended) if looked else ():
            if start >= due:
                break
            if end <= self._done:
                continue
            if self._masked is None or start < self._masked or start >= self._done:
                parts += [text[self._done : start], MASK]
                self.found[category] += 1
                self._masked = start
            self._done = end
        if due > self._done:
            parts.append(text[self._done : due])
            self._done, self._masked = due, None
        self._forget(seen)
        return "".join(parts)

    def _forget(self, seen: Sequence[int]) -> None:
        """Keep what says what comes next is: what stands before it, and all of a finding that may yet be longer."""
        before = bisect_left(seen, self._done) - BEFORE
        begin = max(0, self._done - MOST, seen[before]) if before > 0 else max(0, self._done - MOST)
        if self._masked is not None:
            begin = min(begin, max(self._masked, self._done - LONGEST))
            self._masked = max(0, self._masked - begin)
        self._kept = self._kept[begin:]
        self._done -= begin

    def _spans(self, read: str, seen: Sequence[int], *, ended: bool) -> list[_Span]:
        """What is to be masked, in order and without overlap. `read` is the text as patterns know it."""
        text = self._kept
        spans = list(_uncovered(text))
        if not ended:
            spans += [_Span(seen[start], len(text), "credential") for start in begun(read)]
            if (unread := len(text) - MOST) > max(self._done, seen[-WINDOW] if len(seen) > WINDOW else 0):
                spans.append(_Span(self._done if self._masked is None else self._masked, unread, UNREAD))
        joined: list[_Span] = []
        for one in sorted(spans):
            if joined and one.start < joined[-1].end:
                joined[-1] = joined[-1]._replace(end=max(joined[-1].end, one.end))
            else:
                joined.append(one)
        return joined


def _sure_up_to(text: str, done: int, seen: Sequence[int]) -> int:
    """Up to where no further text can change what is found, at least `done`. `seen` are the places of what is seen."""
    due = max(done, len(text) - MOST, seen[-WINDOW] if len(seen) > WINDOW else 0)
    if len(seen) > NEAR:
        spaces = [match.end() for match in _SPACES.finditer(text, due, seen[-NEAR] + 1)]
        due = spaces[-1] if spaces else due
    return due


def _past_words(text: str, due: int) -> int:
    """The same past words in which nothing can be found: up to the last but one that is whole."""
    # a space behind it says that it is whole, and so does a comma of Chinese
    ends = [match.end() for match in _ENDS.finditer(text, due)]
    words = (_is_word(text[start:end].rstrip()) for start, end in pairwise([due, *ends]))
    for end, (this, following) in zip(ends, pairwise(words), strict=False):
        if not (this and following):
            break
        due = end
    return due


def _is_word(token: str) -> bool:
    """Whether no finding begins with it, provided that no number follows: letters, and the signs of a sentence."""
    bare = token.strip("\"'().,;!?*").removesuffix(":")
    letters = bare.translate(_JOINTS)
    return (
        len(token) <= MAX_WORD
        and (not bare or (bare[0].isalpha() and letters.isalpha()))
        and is_normalized("NFKC", letters)
        and not any(map(token.__contains__, NEEDLES))
    )


def _uncovered(text: str) -> Iterator[_Span]:
    """The findings, and those that come to light when these are masked: what `redact` masks, in places of the text."""
    due = _sure(text)
    if not due:
        return
    starts, ends = list(range(len(text))), list(range(1, len(text) + 1))
    whole = len(text)
    for _ in range(MAX_PASSES):
        for one in reversed(due):
            start, end = starts[one.start], ends[one.end - 1]
            yield _Span(start, end, one.category)
            text = text[: one.start] + MASK + text[one.end :]
            starts[one.start : one.end] = [start] * len(MASK)
            ends[one.start : one.end] = [end] * len(MASK)
        due = _sure(text)
        if not due:
            return
    # the last of many passes
    yield _Span(0, whole, UNREAD)


def _sure(text: str) -> list[Detected]:
    return [one for one in scan(text) if one.confidence >= THRESHOLD]


MAX_WORD = 64
_SPACES = re.compile(r"\s+")
_ENDS = re.compile(r"[\s\uff0c\uff1b]+")
# what may stand within a word
_JOINTS = str.maketrans(dict.fromkeys("-'.\u2019,\u3001\u3002\uff0c\uff1b", ""))
