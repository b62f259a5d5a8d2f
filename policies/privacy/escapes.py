"""Characters that are written by their number, as strings of JSON and of programs have them: `\\u0040` for an @.

A text within a text is escaped once more, so that backslashes double (RFC 8259, section 7): any number of them up to
that of four levels is a part of the escape.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

__all__ = ["end", "unescaped"]


def unescaped(text: str) -> tuple[str, Sequence[int]]:
    """The text with each escape as the character that it stands for, and where each of its characters begins in the
    text as it came."""
    parts: list[str] = []
    places: list[int] = []
    place = 0
    for match in _ESCAPE.finditer(text):
        parts += [text[place : match.start()], _character(match)]
        places += [*range(place, match.start()), match.start()]
        place = match.end()
    if not place:
        return text, range(len(text))
    return "".join([*parts, text[place:]]), [*places, *range(place, len(text))]


def end(text: str, place: int) -> int:
    """Where the character ends that begins at a place, which is longer than one where it is an escape."""
    match = _ESCAPE.match(text, place)
    return match.end() if match else place + 1


def _character(match: re.Match[str]) -> str:
    high, low, *numbers = match.groups()
    if high:
        return chr(0x10000 + ((int(high, 16) & 0x3FF) << 10) + (int(low, 16) & 0x3FF))
    code = next(int(number, 16) for number in numbers if number)
    # half of a character, or beyond the last one: it has no form that patterns know
    return "\ufffd" if 0xD800 <= code < 0xE000 or code > 0x10FFFF else chr(code)


_HEX = "[0-9A-Fa-f]"
_BEGIN = r"(?<!\\)\\{1,8}"
_ESCAPE = re.compile(
    rf"{_BEGIN}(?:u([Dd][89ABab]{_HEX}{{2}})\\{{1,8}}u([Dd][C-Fc-f]{_HEX}{{2}})"
    rf"|u({_HEX}{{4}})|x({_HEX}{{2}})|u\{{({_HEX}{{1,6}})\}}|U({_HEX}{{8}}))"
)
