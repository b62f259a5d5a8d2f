"""The same text in the characters that patterns know, with the way back to the offsets of the original."""

from __future__ import annotations

import re
from collections.abc import Sequence
from unicodedata import is_normalized, normalize

__all__ = ["plain"]


def plain(text: str) -> tuple[str, Sequence[int]]:
    """The text without characters that no one sees, with digits, @, dots, dashes and spaces in their ASCII form.

    `offsets[i]` is where the character `i` of the result stands in `text`.
    """
    offsets: Sequence[int] = range(len(text))
    if _UNSEEN.search(text):
        offsets = [place for place in offsets if not _UNSEEN.match(text, place)]
        text = _UNSEEN.sub("", text)
    if _FOREIGN.search(text):
        text = text.translate(_ASCII)
    if not is_normalized("NFKC", text):
        text, offsets = _composed(text, offsets)
    return text, offsets


def _composed(text: str, offsets: Sequence[int]) -> tuple[str, Sequence[int]]:
    """Every character in its compatible form (Unicode NFKC), such as digits in circles and small capitals of units.

    By character, so that each keeps its place: what is made of several characters stays several.
    """
    parts = [normalize("NFKC", one) for one in text]
    return "".join(parts), [offset for part, offset in zip(parts, offsets, strict=True) for _ in part]


# zero-width characters, direction marks, soft hyphens, variation selectors, tags: they split a number for a pattern,
# and for no reader
_UNSEEN = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f"
    "\ufeff\uffa0\U000e0000-\U000e0fff]"
)
# the zeros of decimal digits: Arabic, Persian, the scripts of India and South-East Asia, and of mathematics
_ZEROS = (
    *(0x0660, 0x06F0, 0x07C0, 0x0966, 0x09E6, 0x0A66, 0x0AE6, 0x0B66, 0x0BE6, 0x0C66, 0x0CE6, 0x0D66, 0x0DE6, 0x0E50),
    *(0x0ED0, 0x0F20, 0x1040, 0x17E0, 0x1810, 0x1D7CE, 0x1D7D8, 0x1D7E2, 0x1D7EC, 0x1D7F6),
)
# one character each, so that offsets stay
_ASCII: dict[int, str] = {
    **{zero + digit: str(digit) for zero in _ZEROS for digit in range(10)},
    **{code: chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F)},
    **dict.fromkeys([*range(0x2010, 0x2016), 0x2043, 0x2212, 0xFE58, 0xFE63], "-"),
    **dict.fromkeys([0x00A0, 0x1680, *range(0x2000, 0x200B), 0x202F, 0x205F, 0x3000], " "),
    **dict.fromkeys([0x2024, 0xFE52], "."),
    0xFE6B: "@",
    0x0130: "I",  # the one letter that is two in lower case, which would move every offset behind it
}
_FOREIGN = re.compile("[" + re.escape("".join(map(chr, _ASCII))) + "]")
