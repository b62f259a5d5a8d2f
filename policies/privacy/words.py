"""Words to look for in a text, and the numbers that they announce.

What only a word makes a number of some kind is looked for near such words alone, and no stretch of the text twice, so
that a text full of words or of numbers costs no more than its length.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

__all__ = ["LONGEST", "SPACES", "Words", "announced", "joined", "within"]

# characters of any number that is looked for near a word, and of what must not follow it
LONGEST = 64

# all of ASCII but letters separates words; the number sign is one itself, and stands before others
SPACES = {code: " " for code in range(128) if not chr(code).isalpha() and chr(code) != "#"}
_SEPARATOR = "".join(f"\\x{code:02x}" for code in SPACES)
_LEFT, _RIGHT = f"(?<![^{_SEPARATOR}#].)", f"(?![^{_SEPARATOR}])"


class Words:
    """Words in lower case; a space at an end of one stands for the end of a word, and within it for what separates."""

    def __init__(self, words: Iterable[str]) -> None:
        self.pattern = re.compile(_tree(map(_parts, words)))

    def ends(self, lowered: str) -> list[int]:
        """Where they end in a text in lower case, in order."""
        return [match.end() for match in self.pattern.finditer(lowered)]


def announced(text: str, lowered: str, words: Words, number: re.Pattern[str], reach: int) -> Iterator[tuple[int, int]]:
    """The first number in `text` after each word, if it begins at most `reach` characters behind the word's end."""
    ends, taken = words.ends(lowered), 0
    for match in within(text, number, joined((end, end + reach) for end in ends) if ends else ()):
        start, end = match.span()
        if ends[bisect_right(ends, start) - 1] >= taken:
            yield start, end
        taken = end


def joined(stretches: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Stretches of a text that come in order, without overlap."""
    last: tuple[int, int] | None = None
    for low, high in stretches:
        if last is not None and low <= last[1]:
            last = last[0], high
            continue
        if last is not None:
            yield last
        last = max(0, low), high
    if last is not None:
        yield last


def within(text: str, number: re.Pattern[str], stretches: Iterable[tuple[int, int]]) -> Iterator[re.Match[str]]:
    """The numbers that begin in one of the stretches."""
    for low, high in stretches:
        for match in number.finditer(text, low, high + LONGEST):
            if match.start() > high:
                break
            yield match


def _parts(word: str) -> list[str]:
    """A word as the parts of a pattern; the left bound stands behind the first letter, to which a search can skip."""
    first, *rest = (f"[{_SEPARATOR}]" if one == " " else re.escape(one) for one in word.strip(" "))
    return [first, *[_LEFT] * word.startswith(" "), *rest, *[_RIGHT] * word.endswith(" ")]


def _tree(words: Iterable[Sequence[str]]) -> str:
    """One pattern for all words, which tells them apart letter by letter. Longer words come first."""
    branches: dict[str, list[Sequence[str]]] = defaultdict(list)
    for word in words:
        branches["".join(word[:1])].append(word[1:])
    order = sorted(branches, key=lambda part: (part == "", part == _RIGHT, part == _LEFT))
    ways = [part + _tree(branches[part]) if part else "" for part in order]
    return ways[0] if len(ways) == 1 else f"(?:{'|'.join(ways)})"
