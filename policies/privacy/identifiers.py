"""Numbers that an office gives to a person, a company or an account, by form, check digits and the words before them.

Of the United States, the United Kingdom, India, Germany, France, Spain, Italy and China; IBANs of all countries. What
many other numbers look like as well counts only where a word says what it is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

from policies.privacy import checksums
from policies.privacy.context import OTHER, Words

__all__ = ["Found", "at", "find"]

REACH = 40  # characters after the word for a passport

Found = tuple[str, int, int, float]  # category, start, end, confidence


class _Kind(NamedTuple):
    """`plain`, `grouped`: the confidence without a word, for a bare run of digits and for one in its printed groups."""

    category: str
    valid: Callable[[str], bool]
    plain: float
    grouped: float
    words: Words
    loose: bool = False  # whether a word is as good as what makes it valid


def at(text: str, start: int) -> Iterator[Found]:
    """The number that begins at `start` with a digit, if one does."""
    match = _FIGURES.match(text, start)
    if match is not None:
        yield from _checked(text, match, match.end())


def find(text: str) -> Iterator[Found]:
    """The numbers in a text in plain form that begin with a letter, and those of passports."""
    if _LETTERED.search(text):
        for match in _LETTERS.finditer(text):
            end = _iban_end(text, match.start()) if match.lastgroup == "iban" else match.end()
            yield from _checked(text, match, end)
    yield from _passports(text)


def _checked(text: str, match: re.Match[str], end: int) -> Iterator[Found]:
    kind, start = _KINDS[str(match.lastgroup)], match.start()
    number = text[start:end]
    bare = number.translate(_BARE).upper()
    valid = bool(end) and kind.valid(bare)
    if (valid or kind.loose) and kind.words.before(text, start):
        yield kind.category, start, end, 0.97
    elif valid:
        confidence = kind.grouped if len(bare) < len(number) else kind.plain
        yield kind.category, start, end, round(confidence - 0.3, 2) if OTHER.before(text, start) else confidence


def _iban_end(text: str, start: int) -> int:
    """Where the IBAN ends that begins here, by the length that its country prescribes; 0 where it does not fit."""
    wanted, found = checksums.IBAN_LENGTHS.get(text[start : start + 2].upper(), 0), 0
    for place in range(start, min(len(text), start + 2 * wanted)):
        one = text[place]
        if one.isalnum():
            found += 1
            if found == wanted:
                return 0 if text[place + 1 : place + 2].isalnum() and text[place + 1].isascii() else place + 1
        elif one not in " -" or not text[place - 1].isalnum():
            return 0
    return 0


def _passports(text: str) -> Iterator[Found]:
    """Passport numbers have no check digit, so only the word tells them; a number has at least five digits."""
    lowered = text.lower()
    if not any(map(lowered.__contains__, _PASSPORT_WORDS)):
        return
    for word in _PASSPORT.finditer(lowered):
        number = _PASSPORT_NUMBER.search(text, word.end(), word.end() + REACH)
        if number is not None:
            yield "passport", number.start(), number.end(), 0.85


def _ssn(digits: str) -> bool:
    """The Social Security Administration assigns no area 000, 666 or 900 to 999, no group 00 and no serial 0000."""
    area, group, serial = digits[:3], digits[3:5], digits[5:]
    return area not in ("000", "666") and area < "900" and group != "00" and serial != "0000" and len(set(digits)) > 1


def _nino(number: str) -> bool:
    """The National Insurance number of the United Kingdom (HMRC, National Insurance Manual NIM39110)."""
    first, second, suffix = number[0], number[1], number[-1]
    given = first not in "DFIQUV" and second not in "DFIOQUV" and suffix in "ABCD"
    return given and number[:2] not in ("BG", "GB", "KN", "NK", "NT", "TN", "ZZ")


_BARE = str.maketrans("", "", " -")
_LETTERED = re.compile(r"[0-9](?:(?<=[A-Za-z].)|(?<=[A-Za-z][ -].))")
_RIGHT = r"(?![0-9A-Za-z]|[.\-/][0-9]|[ ][0-9]{3})"
_LETTERS = re.compile(
    rf"""
    (?<![0-9A-Za-z]) (?=[A-Za-z]{{1,6}}[ -]?[0-9]{{2}})
    (?: (?: (?P<nino> [A-Za-z]{{2}}[ ]?[0-9]{{2}}[ ]?[0-9]{{2}}[ ]?[0-9]{{2}}[ ]?[A-Za-z])
          | (?P<codice> [A-Za-z]{{6}}[0-9L-Vl-v]{{2}}[A-Za-z][0-9L-Vl-v]{{2}}[A-Za-z][0-9L-Vl-v]{{3}}[A-Za-z])
          | (?P<nie> [XYZxyz][ -]?[0-9]{{7}}[ -]?[A-Za-z])
          | (?P<uscc> [AY][1-59][0-9]{{6}}[0-9A-HJ-NPQRTUWXY]{{10}}) ) {_RIGHT}
      | (?P<iban> [A-Za-z]{{2}}[0-9]{{2}} (?=[ -]?[0-9A-Za-z]{{4}}) ) )
    """,
    re.VERBOSE,
)
_DAY = "(?:0[1-9]|1[0-2])(?:0[1-9]|[12][0-9]|3[01])"
_FIGURES = re.compile(
    rf"""
    (?<![0-9][.\-/])
    (?: (?P<dni> [0-9]{{8}}[ -]?[A-Z])
      | (?P<resident> [1-9][0-9]{{5}}[ ]?(?:18|19|20)[0-9]{{2}}{_DAY}[ ]?[0-9]{{3}}[0-9Xx])
      | (?P<uscc_> [1-9][1-59][0-9]{{6}}[0-9A-HJ-NPQRTUWXY]{{10}})
      | (?P<nir> [12][ ]?[0-9]{{2}}[ ]?(?:0[1-9]|1[0-2]|[2-9][0-9])[ ]?(?:[0-9]{{2}}|2[ABab])
                 (?:[ ]?[0-9]{{3}}){{2}}[ ]?[0-9]{{2}})
      | (?P<aadhaar> [2-9][0-9]{{3}}(?:[ -]?[0-9]{{4}}){{2}})
      | (?P<ssn> [0-9]{{3}}(?:-[0-9]{{2}}-|[ ][0-9]{{2}}[ ]|[0-9]{{2}})[0-9]{{4}})
      | (?P<nhs> [0-9]{{3}}(?:-[0-9]{{3}}-|[ ][0-9]{{3}}[ ]|[0-9]{{3}})[0-9]{{4}})
      | (?P<steuer> [1-9][0-9](?:[ ]?[0-9]{{3}}){{3}}) )
    {_RIGHT}
    """,
    re.VERBOSE,
)
_COMPANY = _Kind("company_id", checksums.uscc, 0.85, 0.85, Words("信用代码", "uscc", "credit code", "税号"))
_KINDS = {
    "iban": _Kind(
        "bank_account", checksums.iban, 0.95, 0.95, Words("iban", "konto", "account", "compte", "cuenta", "账户")
    ),
    "codice": _Kind("national_id", checksums.codice_fiscale, 0.95, 0.95, Words("codice", "fiscale", " c f ")),
    "nie": _Kind("national_id", checksums.dni, 0.8, 0.8, Words(" nie ", " nif ", "extranjer", "identidad")),
    "dni": _Kind("national_id", checksums.dni, 0.7, 0.7, Words(" dni ", " nif ", "identidad", "documento")),
    "resident": _Kind(
        "national_id", checksums.resident_id, 0.95, 0.95, Words("身份证", "公民", "resident", "identity")
    ),
    "uscc": _COMPANY,
    "uscc_": _COMPANY,
    "nir": _Kind("ssn", checksums.nir, 0.8, 0.9, Words("sécu", "secu", " nir ", "insee", "assuré", "vitale")),
    "aadhaar": _Kind("national_id", checksums.aadhaar, 0.4, 0.6, Words("aadhaar", "aadhar", "uidai", "आधार")),
    "ssn": _Kind("ssn", _ssn, 0.2, 0.7, Words("ssn", "social sec", " ss #", "taxpayer", " itin "), loose=True),
    "nino": _Kind(
        "ssn", _nino, 0.75, 0.75, Words("national insurance", "nino", " ni ", "social sec", "ssn"), loose=True
    ),
    "nhs": _Kind("health_id", checksums.nhs, 0.2, 0.45, Words(" nhs", "patient", "health number", "health service")),
    "steuer": _Kind(
        "tax_id", checksums.steuer_id, 0.45, 0.75, Words("steuer", "idnr", " tin ", " tax", "identifikationsn")
    ),
}
_PASSPORT_WORDS = ("passport", "reisepass", "passeport", "pasaporte", "passaporto", "护照", "पासपोर्ट")
_PASSPORT = re.compile("|".join(_PASSPORT_WORDS))
_PASSPORT_NUMBER = re.compile(
    r"(?<![0-9A-Za-z])(?:[A-Za-z]{0,3}[0-9]{6,9}|[0-9]{2}[A-Za-z]{2}[0-9]{5}|[CFGHJKLMNPRTVWXYZ](?=[0-9A-Z]{0,4}[0-9])"
    r"[CFGHJKLMNPRTVWXYZ0-9]{8})(?![0-9A-Za-z])"
)
