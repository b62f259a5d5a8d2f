"""Dates of birth: dates after a word that speaks of a birth. Any other date is nobody's."""

from __future__ import annotations

import re
from collections.abc import Iterator

from policies.privacy.context import Candidate, Context
from policies.privacy.words import Words, announced

__all__ = ["find"]

REACH = 24  # characters between the word and the date


def find(context: Context) -> Iterator[Candidate]:
    """The dates of birth."""
    for start, end in announced(context.lowered, context.lowered, _WORDS, _DATE, REACH):
        yield start, end, "birth_date", 0.9


_WORDS = Words(
    (
        " born ", "birth", " dob ", " d.o.b", "geboren", "geburt", " geb.", "naissance", " n\u00e9 le", " n\u00e9e le",
        " n\u00e9(e) le", "nacido", "nacida", "nacimiento", " nato il ", " nata il ", " nato a ", " nata a ", "nascita",
        "出生", "生日", "生于", "जन्म",
    )
)  # fmt: skip
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
