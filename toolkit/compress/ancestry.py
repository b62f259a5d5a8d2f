"""All that a model was made from, as far as papers and persons say: each ancestor with its licence and its texts.

A card names the models that a model was made from, and nothing more (`base_model`). Under which licence these are is
read from their own papers, where their folder was given, and taken from a statement otherwise; their cards may name
others. Where nobody says, it is unknown.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

import msgspec
from msgspec import UNSET, Struct

from policies import licences
from policies.licences import OWN, UNKNOWN, Forebear
from toolkit.compress.errors import ParentError, SourceError
from toolkit.compress.sources.folder import Folder
from toolkit.extras import needs

__all__ = ["Ancestry", "Relation", "Stated", "Texts", "ancestors", "forebear", "stated", "texts_of"]

Relation = Literal["parent", "merged", "adapter", "calibration", "training"]

MAX_ANCESTORS = 32
MAX_WEIGHTS = 2**40
_WEIGHTS = (".safetensors", ".onnx", ".keras", ".gguf")


class Stated(Struct, frozen=True, kw_only=True):
    """What a person says of an ancestor: its licence, as an SPDX id or another name of it, or the folder where it lies
    with its papers; or both."""

    licence: str | None = None
    folder: Path | None = None


class Texts(Struct, frozen=True, kw_only=True):
    """The papers of an ancestor that travel: its licence text, its NOTICE file and its acceptable-use policies."""

    licence: str | None = None
    notice: str | None = None
    use_policies: tuple[str, ...] = ()


class Ancestry(Struct, frozen=True, kw_only=True):
    """The ancestors, the nearest first, and the texts of each in the same order."""

    lineage: tuple[Forebear, ...] = ()
    texts: tuple[Texts, ...] = ()

    def and_then(self, other: Ancestry) -> Ancestry:
        return Ancestry(lineage=self.lineage + other.lineage, texts=self.texts + other.texts)


def stated(given: Iterable[str]) -> dict[str, Stated]:
    """Statements of the form NAME=LICENCE or NAME=FOLDER by their names; a folder is written with a slash ("./base").

    Raises ParentError.
    """
    found: dict[str, Stated] = {}
    for statement in given:
        name, _, what = statement.rpartition("=")
        if not name or not what:
            raise ParentError(
                "parent_statement", f"{statement[:80]!r} is not of the form NAME=LICENCE or NAME=./FOLDER"
            )
        before = found.get(name, Stated())
        is_folder = os.sep in what or "/" in what
        if (before.folder if is_folder else before.licence) is not None:
            raise ParentError("parent_statement", f"{name[:80]!r} is stated twice")
        if is_folder and not Path(what).is_dir():
            raise ParentError("parent_not_found", f"there is no folder at {what}")
        now = (
            Stated(licence=before.licence, folder=Path(what))
            if is_folder
            else Stated(licence=what, folder=before.folder)
        )
        found[name] = now
    return found


def ancestors(named: Sequence[tuple[str, Relation]], statements: Mapping[str, Stated]) -> Ancestry:
    """The models that papers name, those that their papers name, and then those that were stated beside them.

    Raises LicenceError where the papers of one are in conflict, or name a licence that is in no table; SourceError.
    """
    found = Ancestry()
    waiting, left = list(named), list(statements)
    seen: set[str] = set()
    while waiting or left:
        name, kind = waiting.pop(0) if waiting else (left.pop(0), "parent")
        if name in seen:
            continue
        seen.add(name)
        if len(seen) > MAX_ANCESTORS:
            raise SourceError("source_too_large", f"more than {MAX_ANCESTORS} ancestors")
        one, further = _ancestor(name, kind, statements.get(name, Stated()))
        found = found.and_then(one)
        waiting += further
    return found


def texts_of(lineage: Sequence[Forebear], texts: Sequence[Texts]) -> dict[str, bytes]:
    """The files of a bundle with the papers of all ancestors: LICENSE, and NOTICE and USE_POLICY where there are some.

    Where a source brought no text, it is that of the table; notices that a licence asks for are added.
    """
    pages: list[str] = []
    policies: list[str] = []
    notices = [one.notice for one in texts if one.notice is not None]
    for one, came in zip(lineage, texts, strict=True):
        pages += [] if one.licence == OWN else [*licences.pages(came.licence or ""), _text(one.licence, came)]
        policies += came.use_policies
        named = None if one.licence == OWN else licences.known(one.licence).use_policy
        if named is not None and named not in map(licences.identify_use_policy, came.use_policies):
            policies += [licences.use_policy_text(named)] if licences.use_policies()[named].wordings else []
    asked = licences.facts(licences.licence_of(lineage)).notices
    notices += [one for one in asked if not any(one in given for given in notices)]
    files = {
        "LICENSE": licences.bound(pages) or f"{licences.licence_of(lineage)}\n",
        "NOTICE": "\n\n".join(dict.fromkeys(notices)),
        "USE_POLICY": licences.bound(policies),
    }
    return {name: text.encode() for name, text in files.items() if text}


def forebear(name: str, digest: str, licence: str, relation: Relation, texts: Texts) -> Forebear:
    """An entry of the lineage, with the digest over the words of its licence text."""
    text = UNSET if licence in (OWN, UNKNOWN) else licences.digest(_text(licence, texts))
    return Forebear(name=name, digest=digest, licence=licence, relation=relation, text=text)


def _text(licence: str, texts: Texts) -> str:
    """The licence text that came with the papers, or that of the table."""
    came = licences.pages(texts.licence or "")
    return next((page for page in came if licences.identify(page) == licence), None) or licences.text(licence)


def _ancestor(name: str, relation: Relation, said: Stated) -> tuple[Ancestry, list[tuple[str, Relation]]]:
    """An ancestor by its name, and those that its own papers name."""
    if said.folder is None:
        licence = UNKNOWN if said.licence is None else licences.spdx(said.licence)
        return Ancestry(lineage=(forebear(name, "", licence, relation, Texts()),), texts=(Texts(),)), []
    with needs("compress"):
        from toolkit.compress.sources.papers import read_papers
    folder = Folder(said.folder)
    papers = read_papers(folder)
    silent = said.licence is None and not papers.statements
    licence = UNKNOWN if silent else licences.agreed(said.licence, papers.statements)
    texts = Texts(licence=papers.licence, notice=papers.notice, use_policies=papers.use_policies)
    one = forebear(name, _digest(folder), licence, relation, texts)
    return Ancestry(lineage=(one,), texts=(texts,)), [(base, papers.relation) for base in papers.bases]


def _digest(folder: Folder) -> str:
    """SHA-256 in hexadecimal over the names and digests of its weights; empty where there are none."""
    weights = list(_weights(folder))
    return hashlib.sha256(msgspec.json.encode(weights)).hexdigest() if weights else ""


def _weights(folder: Folder) -> Iterator[tuple[str, str]]:
    for name in folder.names():
        if name.endswith(_WEIGHTS):
            yield name, folder.hash(name, MAX_WEIGHTS).sha256
