"""The same text in the characters that patterns know, with the way back to the offsets of the original."""

from __future__ import annotations

import re
from collections.abc import Sequence
from unicodedata import is_normalized, normalize

from policies.privacy.escapes import unescaped

__all__ = ["plain"]


def plain(text: str) -> tuple[str, Sequence[int]]:
    """The text without escapes and characters that no one sees, with digits, @, dots, dashes and spaces in their ASCII
    form.

    `offsets[i]` is where the character `i` of the result begins in `text`.
    """
    offsets: Sequence[int] = range(len(text))
    if "\\" in text:
        text, offsets = unescaped(text)
    if _UNSEEN.search(text):
        seen = [place for place, one in enumerate(text) if one not in _HIDDEN]
        text, offsets = "".join(map(text.__getitem__, seen)), list(map(offsets.__getitem__, seen))
    if not _ASCII.keys().isdisjoint(text):
        text = "".join(map(_ASCII.get, text, text))
    if not is_normalized("NFKC", text):
        text, offsets = _composed(text, offsets)
    return text, offsets


def _composed(text: str, offsets: Sequence[int]) -> tuple[str, Sequence[int]]:
    """Every character in its compatible form (Unicode NFKC), such as digits in circles and small capitals of units.

    By character, so that each keeps its place: what is made of several characters stays several. A form of several
    characters of which none is ASCII is left alone: no pattern knows it, and it may be 18 characters long.
    """
    forms = {
        one: form
        for one in set(text)
        if (form := normalize("NFKC", one)) != one and (len(form) == 1 or not _WRITTEN.isdisjoint(form))
    }
    parts = list(map(forms.get, text, text))
    if any(len(form) > 1 for form in forms.values()):
        offsets = [offset for part, offset in zip(parts, offsets, strict=True) for _ in part]
    return "".join(parts), offsets


# zero-width characters, direction marks, soft hyphens, variation selectors, tags: they split a number for a pattern,
# and for no reader
_HIDDEN_RANGES = (
    *((0x00AD, 0x00AD), (0x034F, 0x034F), (0x061C, 0x061C), (0x115F, 0x1160), (0x17B4, 0x17B5), (0x180B, 0x180F)),
    *((0x200B, 0x200F), (0x202A, 0x202E), (0x2060, 0x206F), (0x3164, 0x3164), (0xFE00, 0xFE0F), (0xFEFF, 0xFEFF)),
    *((0xFFA0, 0xFFA0), (0xE0000, 0xE0FFF)),
)
_HIDDEN = frozenset(chr(code) for first, last in _HIDDEN_RANGES for code in range(first, last + 1))
_UNSEEN = re.compile("[" + "".join(f"{chr(first)}-{chr(last)}" for first, last in _HIDDEN_RANGES) + "]")
_WRITTEN = frozenset(map(chr, range(0x21, 0x7F)))
# the zeros of decimal digits: Arabic, Persian, the scripts of India and South-East Asia, and of mathematics
_ZEROS = (
    *(0x0660, 0x06F0, 0x07C0, 0x0966, 0x09E6, 0x0A66, 0x0AE6, 0x0B66, 0x0BE6, 0x0C66, 0x0CE6, 0x0D66, 0x0DE6, 0x0E50),
    *(0x0ED0, 0x0F20, 0x1040, 0x17E0, 0x1810, 0x1D7CE, 0x1D7D8, 0x1D7E2, 0x1D7EC, 0x1D7F6),
)
# one character each, so that offsets stay
_ASCII: dict[str, str] = {
    **{chr(zero + digit): str(digit) for zero in _ZEROS for digit in range(10)},
    **{chr(code): chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F)},
    **dict.fromkeys(map(chr, [*range(0x2010, 0x2016), 0x2043, 0x2212, 0xFE58, 0xFE63]), "-"),
    **dict.fromkeys(map(chr, [0x00A0, 0x1680, *range(0x2000, 0x200B), 0x202F, 0x205F, 0x3000]), " "),
    **dict.fromkeys("\u2024\ufe52", "."),
    "\ufe6b": "@",
    "\u0130": "I",  # the one letter that is two in lower case, which would move every offset behind it
}
