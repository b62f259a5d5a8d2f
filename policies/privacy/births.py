"""Dates of birth: dates after a word that speaks of a birth. Any other date is nobody's."""

from __future__ import annotations

import re
from collections.abc import Iterator

from policies.privacy.identifiers import Found

__all__ = ["find"]

REACH = 24  # characters between the word and the date


def find(text: str) -> Iterator[Found]:
    """The dates of birth in a text in plain form."""
    lowered = text.lower()
    if not any(map(lowered.__contains__, _LITERALS)):
        return
    for word in _WORDS.finditer(lowered):
        date = _DATE.search(lowered, word.end(), word.end() + REACH + 20)
        if date is not None and date.start() <= word.end() + REACH:
            yield "birth_date", *date.span(), 0.9


# by what a text is seen at once not to hold one of the words
_LITERALS = (
    "born", "birth", "dob", "d.o.b", "gebor", "geburt", "geb.", "naiss", "n\u00e9", "nacid", "nacim", "nato ", "nata ",
    "nascit", "出生", "生日", "生于", "जन्म",
)  # fmt: skip
_WORDS = re.compile(
    r"\bborn\b|birth|\bd\.?o\.?b\b|geboren|geburt|\bgeb\.|naissance"
    r"|\bn\u00e9e? le|\bn\u00e9\(e\) le|nacid[oa]|nacimiento"
    r"|\bnat[oa] (?:il|a)\b|nascita|出生|生日|生于|जन्म"
)
_MONTHS = (
    "(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec|m\u00e4r|mai|okt|dez|janv|f\u00e9vr|avr|juin|juil|ao\u00fbt"
    "|d\u00e9c|ene|abr|ago|dic|gen|mag|giu|lug|set|ott)[^\\W\\d]{0,9}"
)
_YEAR = "(?:19|20)[0-9]{2}"
_DATE = re.compile(
    rf"""
    (?<![0-9])
    (?: {_YEAR}[-./][0-9]{{1,2}}[-./][0-9]{{1,2}}
      | [0-9]{{1,2}}[-./ ][0-9]{{1,2}}[-./ ](?:{_YEAR}|[0-9]{{2}})
      | {_YEAR}\u5e74[0-9]{{1,2}}\u6708[0-9]{{1,2}}\u65e5?
      | {_YEAR}[01][0-9][0-3][0-9]
      | [0-9]{{1,2}}(?:st|nd|rd|th|er|\.)?[ ](?:de[ ])?{_MONTHS}\.?,?[ ](?:del?[ ])?{_YEAR}
      | {_MONTHS}\.?[ ][0-9]{{1,2}}(?:st|nd|rd|th)?,?[ ]{_YEAR} )
    (?![0-9])
    """,
    re.VERBOSE,
)
