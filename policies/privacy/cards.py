"""Payment cards: the groups in which they are printed, an issuer's prefix and length, and the Luhn checksum.

A checksum alone proves little: one number in ten passes it (ISO/IEC 7812-1, annex B).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from policies.privacy.checksums import luhn
from policies.privacy.context import Candidate, Context, Weights
from policies.privacy.words import LONGEST

__all__ = ["find"]


def find(context: Context) -> Iterator[Candidate]:
    """The card numbers."""
    text = context.text
    for low, high in context.stretches:
        place = low
        while (card := _next(text, place, high)) is not None:
            yield card
            start, end, _, _ = card
            # in a row of groups the number may begin further on, unless the row begins here or the last one ended here
            place = end if start == place + 1 or not text[start - 2].isdigit() else start


def _next(text: str, place: int, high: int) -> Candidate | None:
    """The first that begins behind `place` and not behind `high`."""
    for match in _SHAPE.finditer(text, place, high + LONGEST):
        start, end = match.start() + 1, match.end(1)
        if start <= high and luhn(text[start:end]):
            digits = text[start:end].replace(" ", "").replace("-", "").replace(".", "")
            if digits.count(digits[0]) < len(digits):
                return start, end, "card", _weights(digits, match["groups"])
    return None


# behind what stands before it, which is not the point of a decimal fraction; looked at without being consumed, since
# what begins further on may be the number
_SHAPE = re.compile(
    r"""
    [^0-9A-Za-z] (?=[0-9]) (?<![0-9]\.)
    (?= ( [0-9]{12,19}
        | [2-689] (?: (?P<groups> [0-9]{3} (?: (?:[ .-]?[0-9]{4}){3} (?:[ .-]?[0-9]{3})?     # 4-4-4-4, 4-4-4-4-3
                                             | [ .-]?[0-9]{6} [ .-]?[0-9]{4,5} ) )           # 4-6-5, 4-6-4
                    | (?<![0-9][ -].) (?:[ -][0-9]){12,18} (?![ -][0-9]) ) )                 # one by one
        (?! [0-9A-Za-z] | [.-][0-9] ) )
    """,
    re.VERBOSE,
)
# small issuers are in no table: a word is as good as a prefix
_UNKNOWN = Weights("card", 0.97, 0, 0)
_GROUPED, _PLAIN = Weights("card", 0.97, 0.6, 0.9), Weights("card", 0.97, 0.4, 0.7)
# 13 digits are an old form of one issuer, and the length of every article number
_SHORT = Weights("card", 0.97, 0.1, 0.4)


def _weights(digits: str, groups: str | None) -> Weights:
    if len(digits) not in _LENGTHS.get(digits[:4], ()):
        return _UNKNOWN
    return _GROUPED if groups else _SHORT if len(digits) == 13 else _PLAIN


# first and last prefix of 4 digits, lengths; from the issuers' published ranges (ISO/IEC 7812 issuer numbers)
_ISSUERS = (
    (4000, 4999, (13, 16, 19)),  # Visa
    (5100, 5599, (16,)),  # Mastercard
    (2221, 2720, (16,)),  # Mastercard
    (3400, 3499, (15,)),  # American Express
    (3700, 3799, (15,)),  # American Express
    (3000, 3059, (14, 16)),  # Diners Club
    (3095, 3095, (14, 16)),  # Diners Club
    (3600, 3699, (14, 16)),  # Diners Club
    (3800, 3999, (14, 16)),  # Diners Club
    (3528, 3589, (16, 17, 18, 19)),  # JCB
    (6011, 6011, (16, 17, 18, 19)),  # Discover
    (6440, 6599, (16, 17, 18, 19)),  # Discover, RuPay
    (6200, 6299, (16, 17, 18, 19)),  # UnionPay
    (8100, 8299, (16, 17, 18, 19)),  # UnionPay, RuPay
    (2200, 2204, (16, 17, 18, 19)),  # Mir
    (5018, 5018, (13, 14, 15, 16, 17, 18, 19)),  # Maestro
    (5020, 5020, (13, 14, 15, 16, 17, 18, 19)),  # Maestro
    (5038, 5038, (13, 14, 15, 16, 17, 18, 19)),  # Maestro
    (5893, 5893, (13, 14, 15, 16, 17, 18, 19)),  # Maestro
    (6304, 6304, (13, 14, 15, 16, 17, 18, 19)),  # Maestro
    (6759, 6763, (13, 14, 15, 16, 17, 18, 19)),  # Maestro
)
_LENGTHS = {str(prefix): lengths for first, last, lengths in _ISSUERS for prefix in range(first, last + 1)}
