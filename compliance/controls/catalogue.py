"""The catalogue of controls: what a law asks for, where, from when on, and what answers it.

    catalogue/NAME.toml     format, the sources, and the controls of one family; its name is the profile
    wording.toml            what each check says when it passes, fails, or does not apply, and what to do
    frameworks.toml         which items of the frameworks that controls name were read, in which text

Requirements are in our own words. `read` is the day on which the paragraph was read in a text of the law; a control
without it is shown as not checked. Thresholds are fields of a control, so that no number of a law stands in code.
"""

from __future__ import annotations

from datetime import date
from functools import cache
from importlib.resources import files
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from compliance.controls.errors import ControlError

__all__ = [
    "PROFILES",
    "Catalogue",
    "Control",
    "Crosswalk",
    "Lang",
    "Profile",
    "Source",
    "Text",
    "Wording",
    "catalogue",
    "frameworks",
    "wordings",
]

Profile = Literal["gdpr", "ai-act", "pipl", "hipaa", "licence", "all"]
PROFILES: tuple[Profile, ...] = ("ai-act", "gdpr", "pipl", "hipaa", "licence")
Lang = Literal["en", "zh"]

_Filled = Annotated[str, Meta(min_length=1)]


class Text(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The same in English and in Chinese."""

    en: _Filled
    zh: _Filled

    def said(self, lang: Lang) -> str:
        return self.en if lang == "en" else self.zh


class Source(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A law or a set of terms: its short name, its full one, and which text of it was read."""

    id: _Filled
    name: Text
    title: Text
    text: _Filled


class Crosswalk(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where frameworks ask for the same: NIST AI RMF 1.0 subcategories, ISO/IEC 42001 Annex A, SOC 2 criteria."""

    nist: tuple[_Filled, ...] = ()
    iso42001: tuple[_Filled, ...] = ()
    soc2: tuple[_Filled, ...] = ()

    def unread(self) -> tuple[str, ...]:
        """The items that were not read in a text of their framework."""
        read = frameworks()
        return tuple(one for of in self.__struct_fields__ for one in getattr(self, of) if one not in read[of].items)


class Control(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One duty. `at` is the paragraph; it applies from the day `applies`, and without one from when terms were taken.

    `check` names what answers it from evidence, `question` is what a named person has to answer where no check can;
    `days` is the threshold of a check that has one.
    """

    id: Annotated[str, Meta(pattern=r"\A[a-z][a-z0-9-]{2,40}\Z")]
    source: _Filled
    at: _Filled
    applies: date | None = None
    requires: Text
    read: date | None = None
    check: str | None = None
    question: Text | None = None
    days: Annotated[int, Meta(ge=1)] | None = None
    crosswalk: Crosswalk = Crosswalk()

    def __post_init__(self) -> None:
        if (self.check is None) == (self.question is None):
            raise ValueError("a control has a check or a question")


class _File(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    format: Literal[1]
    source: tuple[Source, ...]
    control: tuple[Control, ...]


class Wording(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a check says; {n} and {of} are counts. `none` is why it does not apply, or what was not measured."""

    holds: Text
    fails: Text
    none: Text
    fix: Text


class Framework(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A framework that controls name, the day on which `items` of it were read, and in which text."""

    id: Literal["nist", "iso42001", "soc2"]
    name: _Filled
    read: date | None = None
    text: _Filled
    items: frozenset[_Filled]


class _Frameworks(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    format: Literal[1]
    framework: tuple[Framework, ...]


class _Wordings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    format: Literal[1]
    check: dict[str, Wording]


class Catalogue(Struct, frozen=True, kw_only=True):
    """The sources by id, and the controls in the order of their files. `profiles` says where each control is from."""

    sources: dict[str, Source]
    controls: tuple[Control, ...]
    profiles: dict[str, Profile]

    def of(self, profile: Profile) -> tuple[Control, ...]:
        return tuple(one for one in self.controls if profile in ("all", self.profiles[one.id]))

    def control(self, id_: str) -> Control:
        """Raises ControlError: control_unknown."""
        for one in self.controls:
            if one.id == id_:
                return one
        raise ControlError("control_unknown", f"there is no control {id_[:80]!r}")


@cache
def catalogue() -> Catalogue:
    """What ships with this version. Raises msgspec.ValidationError where a file is not as it should be."""
    folder = files("compliance.controls").joinpath("catalogue")
    read = {name: parsed(folder.joinpath(f"{name}.toml").read_bytes()) for name in PROFILES}
    return Catalogue(
        sources={one.id: one for file in read.values() for one in file.source},
        controls=tuple(one for file in read.values() for one in file.control),
        profiles={one.id: name for name, file in read.items() for one in file.control},
    )


def parsed(content: bytes) -> _File:
    """One file of the catalogue. Raises msgspec.ValidationError, with the place, for what is unknown or missing."""
    file = msgspec.toml.decode(content, type=_File)
    known = {one.id for one in file.source}
    for one in file.control:
        if one.source not in known:
            raise msgspec.ValidationError(f"{one.id} has the source {one.source[:80]!r}, which the file does not have")
    return file


@cache
def wordings() -> dict[str, Wording]:
    content = files("compliance.controls").joinpath("wording.toml").read_bytes()
    return msgspec.toml.decode(content, type=_Wordings).check


@cache
def frameworks() -> dict[str, Framework]:
    """Every framework by its id."""
    content = files("compliance.controls").joinpath("frameworks.toml").read_bytes()
    return {one.id: one for one in msgspec.toml.decode(content, type=_Frameworks).framework}
