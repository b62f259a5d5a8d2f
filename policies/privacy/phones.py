"""Phone numbers: international ones by country code and length (ITU-T E.164), national ones by how they are written.

A run of digits alone is no phone number. The national forms are those of the United States, the United Kingdom,
Germany, France, Spain, Italy, China and India; where other things look the same, the words around it decide.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from policies.privacy.context import Candidate, Context, Weights

__all__ = ["find"]


def find(context: Context) -> Iterator[Candidate]:
    """The phone numbers."""
    for match in context.numbers(_FORM):
        yield match.start() + 1, match.end(), "phone", _WEIGHTS[str(match.lastgroup)]
    for match in context.near(_ANY, "phone", "whose phone"):
        yield match.start() + 1, match.end(), "phone", 0.65 if match["said"] is not None else _WEAK


_GOOD, _FAIR = Weights("phone", 0.95, 0.45, 0.75), Weights("phone", 0.95, 0, 0.6)
_WEIGHTS: dict[str, float | Weights] = {
    "international": Weights("phone", 0.95, 0.6, 0.9),
    **dict.fromkeys(("area", "bracketed", "zeros", "french", "long", "american"), _GOOD),
    **dict.fromkeys(("trunk", "chinese", "grouped"), _FAIR),
    # a word behind it says what it is
    "said": 0.95,
}
_WEAK = Weights("phone", 0.65, 0, 0)

# what stands before: no word, nor what makes it the rest of a longer number, a date or a time
_LEFT = r"[^0-9A-Za-z+](?=[+(0-9])(?<![0-9][.\-/:])"
_FIRST = r"(?<![0-9][ ].)"
_NO_DATE = r"(?![0-9]?[-./ ][0-9]{1,2}[-./ ](?:19|20)[0-9]{2}(?![0-9]))"
# not the beginning of something longer; a form that a row of numbers has as well must stand alone
_RIGHT = r"(?![0-9A-Za-z]|[.\-/:][0-9])"
_ALONE = rf"{_RIGHT}(?![ ]?[0-9])"
_EXTENDED = rf"(?:[ ]?(?:x|ext\.?)[ ]?[0-9]{{1,6}})?{_RIGHT}"
_UNEXTENDED = rf"(?:(?=x[0-9]{{1,6}}{_RIGHT})|{_RIGHT})"
_SAID = r"(?P<said>(?=[ ,\-]{1,2}(?i:office|fax|mobile|cell|home|work)\b))?"


def _after(code: str, least: int, most: int) -> str:
    """So many digits after a country code, in groups of any kind; the trunk prefix in +49 (0)30 is not dialled."""
    return rf"(?:{code})(?:[ ]?\(0\))?(?:[ ().\-/]{{0,2}}[0-9]){{{least},{most}}}"


_INTERNATIONAL = "|".join(
    (
        _after("[17]|91", 10, 10),
        _after("3[34]", 9, 9),
        _after("39", 6, 11),
        _after("44", 9, 10),
        _after("49", 6, 12),
        _after("86", 9, 12),
        # all others (E.164: 15 digits in all)
        _after(
            "2[07]|3[0126]|4[0135678]|5[1-8]|6[0-6]|8[124]|9[023458]|2[1-689][0-9]|3[578][0-9]|42[013]|50[0-9]|59[0-9]"
            "|67[0-9]|68[0-9]|69[0-2]|8[058][0-9]|9[679][0-9]",
            6,
            12,
        ),
    )
)


def _national(end: str) -> str:
    """What follows the 0 of a trunk prefix that ends so: 9 to 12 digits in all, in groups of two digits or more."""
    group = r"(?=[0-9]{2})(?![0-9]{9})(?:[0-9]|[ -](?=[0-9]{2})[0-9])"
    lengths = (rf"[1-9][0-9]{{{size - 2}}}{end}{group}{{{9 - size},{12 - size}}}" for size in range(2, 7))
    # pairs are those of France, however many follow
    return "|".join((rf"[1-9]{end}[0-9]{{2}}(?:[ -][0-9]{{2}}){{3}}(?![0-9])", *lengths))


_AMERICAN = rf"[2-9][0-9]{{2}}[-. ][0-9]{{4}}{_EXTENDED}"
_FORM = re.compile(
    rf"""
    {_LEFT}
    (?: [+] (?P<international> [ ]?(?:{_INTERNATIONAL}) {_UNEXTENDED})              # +49 30 1234567
      | [(] (?: (?P<area> [2-9][0-8][0-9][)][ ]?{_AMERICAN})                        # (415) 555-2671
              | (?P<bracketed> 0(?:{_national("[)][ /-]?")}) {_UNEXTENDED}))        # (030) 1234567
      # zeros before one long number are padding more often than a prefix
      | 0 (?: (?P<zeros> 0[ ]?(?=[1-9][0-9]{{0,5}}[ (.\-/])(?:{_INTERNATIONAL}) {_UNEXTENDED})
            | (?P<french> [1-9](?:[ .-][0-9]{{2}}){{4}} {_ALONE})
            | (?P<trunk> {_NO_DATE}(?:{_national("[ /-]")}) {_UNEXTENDED}))         # 030/123456, 020 7946 0958
      | 1 (?: (?P<long> [ .-](?:[(][2-9][0-8][0-9][)][ ]?|[2-9][0-8][0-9][-.]){_AMERICAN})
            | (?P<chinese> [3-9][0-9][ -]?[0-9]{{4}}[ -]?[0-9]{{4}} {_ALONE}))
      | [2-9] (?: (?P<american> [0-8][0-9][-.]{_AMERICAN})
                | {_FIRST} (?P<grouped>
                    (?: (?<=3)[2-9][0-9](?:[ /-][0-9]{{6,7}} | [ ][0-9]{{3}}[ ][0-9]{{4}})      # Italy
                      | (?<=[6-9])[0-9]{{4}}[ -][0-9]{{5}}                                      # India
                      | (?<=[6-9])[0-9]{{2}}(?:[ ][0-9]{{2}}){{3}}                              # Spain
                      | (?<=9)[0-9][ ][0-9]{{3}}(?:[ ][0-9]{{2}}){{2}} ) {_ALONE})))
    {_SAID}
    """,
    re.VERBOSE,
)
# any groups at all
_ANY = re.compile(
    rf"""
    {_LEFT} [(0-9] {_NO_DATE}
    (?: [0-9]{{8,14}} {_RIGHT}
      | (?<=[2-9]) {_FIRST} [0-9]{{2}}[ ][0-9]{{3}}[ -][0-9]{{3,4}} {_ALONE}    # as columns of numbers are, too
      | (?:(?<=[(])[0-9]|(?<=[0-9]))(?:[ ().\-]{{0,2}}[0-9]){{6,14}} {_EXTENDED})
    {_SAID}
    """,
    re.VERBOSE,
)
