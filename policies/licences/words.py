"""The words of a text: what two copies of one licence have in common, however they are set.

Line breaks, punctuation, capitals and lines that only name a holder are free. Every other word counts, in every
script: one changed word in a text can turn its meaning round, so nothing here works by likeness.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from hashlib import sha256

__all__ = ["MAX_CHARACTERS", "body", "digest", "words"]

MAX_CHARACTERS = 100_000

_COPYRIGHT = re.compile(
    r"\W{0,20}(?:copyright\W{1,10}(?:\(c\)|©|[<\[{]?(?:\d{4}|yyyy|year)\b)|©|\(c\) ?\d{4}).{0,200}", re.I
)
_RIGHTS = re.compile(r"\W{0,20}all rights reserved\W{0,20}", re.I)
# words that make more of a line than a name and a year
_TERMS = re.compile(
    r"licen[cs]|commercial|permi|prohib|restrict|research|condition|\b(?:no|non|not|only|use|except)\b"
    r"|[非仅限禁]|许可|商[业用]",
    re.I,
)


def words(text: str) -> Iterator[str]:
    """The words of a text in lower case."""
    return (match[0].lower() for match in re.finditer(r"[^\W_]+", text))


def body(text: str) -> str:
    """The words of a text but for the lines that name a holder of rights, with a space between each two."""
    lines = [line for line in text.splitlines() if not _is_notice(line)]
    # the same address, whichever way it is written
    return " ".join("http" if word == "https" else word for line in lines for word in words(line))


def digest(text: str) -> str:
    """SHA-256 in hexadecimal over the body of a text: the same for every copy, another one where a word is another."""
    return sha256(body(text).encode("utf-8", "surrogatepass")).hexdigest()


def _is_notice(line: str) -> bool:
    return bool(_RIGHTS.fullmatch(line) or (_COPYRIGHT.fullmatch(line) and not _TERMS.search(line)))
