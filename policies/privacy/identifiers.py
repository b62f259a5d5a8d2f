"""Numbers that an office gives to a person, a company or an account, by form, check digits and the words before them.

Of the United States, the United Kingdom, India, Germany, France, Spain, Italy and China; IBANs of all countries. What
many other numbers look like as well counts only where a word says what it is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from policies.privacy import checksums
from policies.privacy.context import Candidate, Context, Weights
from policies.privacy.words import Words, announced

__all__ = ["find", "lettered", "passports"]

REACH = 40  # characters between the word and the number of a passport


class _Kind(NamedTuple):
    category: str
    valid: Callable[[str], bool]
    weights: Weights
    loose: Weights | None  # where a word is as good as what makes it valid


def find(context: Context) -> Iterator[Candidate]:
    """The numbers that begin with a digit."""
    yield from _checked(context.text, context.numbers(_FIGURES))
    yield from _checked(context.text, context.doubtful(_BARE, "ssn", "nhs", "steuer", "aadhaar"))


def lettered(context: Context) -> Iterator[Candidate]:
    """The numbers that begin with a letter."""
    return _checked(context.text, context.lettered(_LETTERS))


def passports(context: Context) -> Iterator[Candidate]:
    """Passport numbers have no check digit, so only the word tells them; a number has at least five digits."""
    for start, end in announced(context.text, context.lowered, _PASSPORT_WORDS, _PASSPORT, REACH):
        yield start, end, "passport", 0.85


def _checked(text: str, matches: Iterable[re.Match[str]]) -> Iterator[Candidate]:
    for match in matches:
        name = str(match.lastgroup)
        start, end = match.start() + 1, match.end(name)
        if name == "iban":
            end = _iban_end(text, start)
        category, valid, weights, loose = _KINDS[name]
        number = text[start:end]
        if not number.isalnum():
            number = number.replace(" ", "").replace("-", "")
        if end and valid(number.upper()):
            yield start, end, category, weights
        elif loose is not None:
            yield start, end, category, loose


def _iban_end(text: str, start: int) -> int:
    """Where the IBAN ends that begins here, by the length that its country prescribes; 0 where none does."""
    rest = _IBAN_RESTS.get(text[start : start + 2].upper())
    match = rest and rest.match(text, start + 4)
    return match.end() if match else 0


def _ssn(digits: str) -> bool:
    """The Social Security Administration assigns no area 000, 666 or 900 to 999, no group 00 and no serial 0000."""
    area, group, serial = digits[:3], digits[3:5], digits[5:]
    return area not in ("000", "666") and area < "900" and group != "00" and serial != "0000" and len(set(digits)) > 1


def _nino(number: str) -> bool:
    """The National Insurance number of the United Kingdom (HMRC, National Insurance Manual NIM39110)."""
    first, second, suffix = number[0], number[1], number[-1]
    given = first not in "DFIQUV" and second not in "DFIOQUV" and suffix in "ABCD"
    return given and number[:2] not in ("BG", "GB", "KN", "NK", "NT", "TN", "ZZ")


_RIGHT = r"(?![0-9A-Za-z]|[.\-/][0-9]|[ ][0-9]{3})"
_LETTERS = re.compile(
    rf"""
    [^0-9A-Za-z] [A-Za-z] (?=[A-Za-z]{{0,5}}+[ -]?+[0-9]{{2}})
    (?: (?: (?P<nino> [A-Za-z](?:[ ]?[0-9]{{2}}){{3}}[ ]?[A-Za-z])
          | (?P<codice> [A-Za-z]{{5}}[0-9L-Vl-v]{{2}}[A-Za-z][0-9L-Vl-v]{{2}}[A-Za-z][0-9L-Vl-v]{{3}}[A-Za-z])
          | (?P<nie> (?<=[XYZxyz])[ -]?[0-9]{{7}}[ -]?[A-Za-z])
          | (?P<uscc> (?<=[AY])[1-59][0-9]{{6}}[0-9A-HJ-NPQRTUWXY]{{10}}) ) {_RIGHT}
      | (?P<iban> [A-Za-z][0-9]{{2}} (?=[ -]?[0-9A-Za-z]{{4}}) ) )
    """,
    re.VERBOSE,
)
_IBAN_RESTS = {
    country: re.compile(rf"(?:[ -]?[0-9A-Za-z]){{{length - 4}}}(?![0-9A-Za-z])")
    for country, length in checksums.IBAN_LENGTHS.items()
}
_DAY = "(?:0[1-9]|1[0-2])(?:0[1-9]|[12][0-9]|3[01])"
# behind what stands before, which makes it no part of a longer number; looked at without being consumed, since what
# begins further on may be the number
_LEFT = r"[^0-9A-Za-z] (?=[0-9]) (?<![0-9][.\-/])"
_FIGURES = re.compile(
    rf"""
    {_LEFT}
    (?=[0-9] (?: [0-9]{{7}}[ -]?[A-Z] (?P<dni>)
          | [0-9]{{2}}(?P<mark>[ -])[0-9]{{2}}(?P=mark)[0-9]{{4}} (?P<ssn_grouped>)
          | (?![0-9]{{10}})[0-9](?:[ ]?[0-9]{{3}}){{3}} (?P<steuer_grouped>)
          | [0-9]{{3}}(?:[ -][0-9]{{4}}[ -]?|[0-9]{{4}}[ -])[0-9]{{4}} (?P<aadhaar_grouped>)
          | (?<=[12])[ ]?[0-9]{{2}}[ ]?(?:0[1-9]|1[0-2]|[2-9][0-9])[ ]?(?:[0-9]{{2}}|2[ABab])
                     (?:[ ]?[0-9]{{3}}){{2}}[ ]?[0-9]{{2}} (?P<nir>)
          | (?<=[1-9])[0-9]{{5}}[ ]?(?:18|19|20)[0-9]{{2}}{_DAY}[ ]?[0-9]{{3}}[0-9Xx] (?P<resident>)
          | (?<=[1-9])[1-59][0-9]{{6}}[0-9A-HJ-NPQRTUWXY]{{10}} (?P<company>) )
        {_RIGHT} )
    """,
    re.VERBOSE,
)
# what many other numbers look like as well
_BARE = re.compile(
    rf"""
    {_LEFT}
    (?=[0-9] (?: [0-9]{{8}} (?: (?P<ssn>) | [0-9] (?P<nhs>) | [0-9]{{2}} (?P<steuer>) | [0-9]{{3}} (?P<aadhaar>) )
          | [0-9]{{2}}(?P<mark>[ -])[0-9]{{3}}(?P=mark)[0-9]{{4}} (?P<nhs_grouped>) )
        {_RIGHT} )
    """,
    re.VERBOSE,
)


def _kind(category: str, valid: Callable[[str], bool], words: str, alone: float, *, loose: bool = False) -> _Kind:
    other = max(0, round(alone - 0.3, 2))
    return _Kind(category, valid, Weights(words, 0.97, other, alone), Weights(words, 0.97, 0, 0) if loose else None)


_COMPANY = _kind("company_id", checksums.uscc, "company", 0.85)
_KINDS = {
    "iban": _kind("bank_account", checksums.iban, "iban", 0.95),
    "codice": _kind("national_id", checksums.codice_fiscale, "codice", 0.95),
    "nie": _kind("national_id", checksums.dni, "nie", 0.8),
    "dni": _kind("national_id", checksums.dni, "dni", 0.7),
    "resident": _kind("national_id", checksums.resident_id, "resident", 0.95),
    "uscc": _COMPANY,
    "company": _COMPANY,
    "nir": _kind("ssn", checksums.nir, "nir", 0.9),
    "aadhaar": _kind("national_id", checksums.aadhaar, "aadhaar", 0.4),
    "aadhaar_grouped": _kind("national_id", checksums.aadhaar, "aadhaar", 0.6),
    "ssn": _kind("ssn", _ssn, "ssn", 0.2, loose=True),
    "ssn_grouped": _kind("ssn", _ssn, "ssn", 0.7, loose=True),
    "nino": _kind("ssn", _nino, "nino", 0.75, loose=True),
    "nhs": _kind("health_id", checksums.nhs, "nhs", 0.2),
    "nhs_grouped": _kind("health_id", checksums.nhs, "nhs", 0.45),
    "steuer": _kind("tax_id", checksums.steuer_id, "steuer", 0.45),
    "steuer_grouped": _kind("tax_id", checksums.steuer_id, "steuer", 0.75),
}
_PASSPORT_WORDS = Words(("passport", "reisepass", "passeport", "pasaporte", "passaporto", "护照", "पासपोर्ट"))
_PASSPORT = re.compile(
    r"(?<![0-9A-Za-z])(?:[A-Za-z]{0,3}[0-9]{6,9}|[0-9]{2}[A-Za-z]{2}[0-9]{5}|[CFGHJKLMNPRTVWXYZ](?=[0-9A-Z]{0,4}[0-9])"
    r"[CFGHJKLMNPRTVWXYZ0-9]{8})(?![0-9A-Za-z])"
)
