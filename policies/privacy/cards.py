"""Payment cards: the groups in which they are printed, an issuer's prefix and length, and the Luhn checksum.

A checksum alone proves little: one number in ten passes it (ISO/IEC 7812-1, annex B).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from policies.privacy.checksums import luhn
from policies.privacy.context import OTHER, Words

__all__ = ["at"]


def at(text: str, start: int) -> Iterator[tuple[int, int, float]]:
    """Start, end and confidence of the card number that begins at `start`, if one does."""
    match = _SHAPE.match(text, start)
    if match is None:
        return
    digits = match[0].translate(_BARE)
    if not luhn(digits) or len(set(digits)) == 1:
        return
    # small issuers are in no table: a word is as good as a prefix
    if _WORDS.before(text, start):
        yield start, match.end(), 0.97
    elif _issued(digits):
        # 13 digits are an old form of one issuer, and the length of every article number
        confidence = 0.9 if match["groups"] else 0.4 if len(digits) == 13 else 0.7
        yield start, match.end(), round(confidence - 0.3, 2) if OTHER.before(text, start) else confidence


_SHAPE = re.compile(
    r"""
    (?: [0-9]{12,19}
      | (?P<groups> [2-689][0-9]{3} (?: (?:[ .-]?[0-9]{4}){3} (?:[ .-]?[0-9]{3})?     # 4-4-4-4, 4-4-4-4-3
                                      | [ .-]?[0-9]{6} [ .-]?[0-9]{4,5} ) )           # 4-6-5, 4-6-4
      | (?<![0-9][ -]) [2-689] (?:[ -][0-9]){12,18} (?![ -][0-9]) )                   # one by one
    (?! [0-9A-Za-z] | [.-][0-9] )
    """,
    re.VERBOSE,
)
_WORDS = Words(
    "card",
    "credit",
    "debit",
    " cc ",
    "visa",
    "master",
    "amex",
    "cvv",
    "cvc",
    "karte",
    "carte",
    "tarjeta",
    "carta",
    "crédito",
    "卡",
)
_BARE = str.maketrans("", "", " .-")


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


def _issued(digits: str) -> bool:
    prefix = int(digits[:4])
    return any(first <= prefix <= last and len(digits) in lengths for first, last, lengths in _ISSUERS)
