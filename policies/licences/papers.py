"""Which licence a source came under, read from its own papers.

A licence is accepted only where it is known: a text by its words, all of them and no others, and a statement by a
name of the licence. One changed word in a text can turn its meaning round, so nothing here works by likeness.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar

from policies.errors import Refused
from policies.licences.table import TABLE, Facts
from policies.licences.texts import TEXTS

__all__ = ["LicenceError", "agreed", "facts", "identify", "spdx"]

MAX_CHARACTERS = 100_000

# the names that model cards and repositories use, as words in lower case
NAMES: Mapping[str, str] = {
    "apache 2": "Apache-2.0",
    "apache 2 0": "Apache-2.0",
    "apache license 2 0": "Apache-2.0",
    "apache license version 2 0": "Apache-2.0",
    "apache software license 2 0": "Apache-2.0",
    "mit": "MIT",
    "mit license": "MIT",
    "the mit license": "MIT",
    "cc by 4 0": "CC-BY-4.0",
    "creative commons attribution 4 0": "CC-BY-4.0",
    "creative commons attribution 4 0 international": "CC-BY-4.0",
    "cc by nc 4 0": "CC-BY-NC-4.0",
    "creative commons attribution noncommercial 4 0": "CC-BY-NC-4.0",
    "creative commons attribution noncommercial 4 0 international": "CC-BY-NC-4.0",
    "creative commons attribution non commercial 4 0": "CC-BY-NC-4.0",
    "creative commons attribution non commercial 4 0 international": "CC-BY-NC-4.0",
}


class LicenceError(Refused):
    """Papers that are missing, unknown or in conflict."""

    hints: ClassVar[Mapping[str, str]] = {
        "licence_unknown": "Licences known so far: Apache-2.0, MIT, CC-BY-4.0, CC-BY-NC-4.0, each by its unaltered "
        "text or by its SPDX id. For another one, use a model under one of these, or have the licence added to the "
        "table.",
        "licence_missing": "Read the papers of the source yourself, then state what they say with --licence and the "
        "SPDX id, for example --licence Apache-2.0: the statement is signed into the bundle.",
        "licence_conflict": "Find out from the publisher which one holds. --licence fills a gap only: it cannot "
        "overrule the papers of the source.",
    }


def facts(licence: str) -> Facts:
    """What the licence with this SPDX id says. Raises LicenceError where it is not in the table."""
    found = TABLE.get(licence)
    if found is None:
        raise _unknown(licence)
    return found


def spdx(statement: str) -> str:
    """The SPDX id that a statement names ("apache-2.0", "MIT License"). Raises LicenceError where it is not known."""
    found = NAMES.get(" ".join(_words(statement))) if len(statement) <= MAX_CHARACTERS else None
    if found is None:
        raise _unknown(statement)
    return found


def identify(text: str) -> str | None:
    """The SPDX id of a licence text, or None where it is unknown or altered.

    Line breaks, punctuation, capitals, title and copyright lines are free, and so is Apache's appendix. Every other
    word counts, in every script: the MIT text with a clause added is not the MIT licence.
    """
    if len(text) > MAX_CHARACTERS:
        return None
    return _KNOWN.get(_body(text))


def agreed(stated: str | None, papers: Sequence[str]) -> str:
    """The SPDX id of the licence that a source came under.

    `papers` holds what the source's own papers name, as ids or statements; `stated`, what the person says who brings
    the source in. Raises LicenceError where a name is unknown, where two disagree, or where nothing is named.
    """
    named = {spdx(paper) for paper in papers}
    if len(named) > 1:
        raise LicenceError("licence_conflict", f"the papers name {' and '.join(sorted(named))}")
    if stated is not None:
        named.add(spdx(stated))
    if len(named) > 1:
        raise LicenceError(
            "licence_conflict", f"stated is {stated}, the papers of the source say otherwise: {papers[0]}"
        )
    if not named:
        raise LicenceError("licence_missing", "no licence was found in the papers of the source")
    return named.pop()


def _unknown(statement: str) -> LicenceError:
    return LicenceError("licence_unknown", f"{statement[:80]!r} is not a licence in the table")


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


def _words(text: str) -> Iterator[str]:
    return (match[0].lower() for match in re.finditer(r"[^\W_]+", text))


def _body(text: str) -> str:
    lines = [line for line in text.splitlines() if not _is_notice(line)]
    # the same address, whichever way it is written
    return " ".join("http" if word == "https" else word for line in lines for word in _words(line))


def _is_notice(line: str) -> bool:
    return bool(_RIGHTS.fullmatch(line) or (_COPYRIGHT.fullmatch(line) and not _TERMS.search(line)))


def _known() -> Iterator[tuple[str, str]]:
    """Each accepted wording with its SPDX id: the canonical text, with and without the parts that are no terms."""
    whole = _body(TEXTS["Apache-2.0"])
    terms, _, appendix = whole.partition(" appendix how to apply ")
    notice = " licensed under the apache license " + appendix.partition(" licensed under the apache license ")[2]
    for wording in (whole, terms, terms.removesuffix(" end of terms and conditions"), terms + notice):
        yield wording, "Apache-2.0"
        yield (
            wording.replace("www apache org licenses terms", "www apache org licenses license 2 0 terms"),
            "Apache-2.0",
        )
    grant = _body(TEXTS["MIT"]).removeprefix("mit license ")
    for title in ("", "mit license ", "the mit license ", "the mit license mit "):
        yield title + grant, "MIT"
    for spdx, kind in (("CC-BY-4.0", "attribution"), ("CC-BY-NC-4.0", "attribution noncommercial")):
        heading = f"{kind} 4 0 international "
        title = f"creative commons {heading}public license "
        preamble, _, rest = _body(TEXTS[spdx]).partition(title)
        terms, closing = rest.split(" creative commons is not a party ")
        for before in ("", heading, preamble, preamble.removeprefix(heading)):
            for after in ("", " creative commons is not a party " + closing):
                yield before + title + terms + after, spdx


_KNOWN = dict(_known())
