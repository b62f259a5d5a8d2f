"""Facts per licence, each with the place where the text says so. Not legal advice: a person decides what is unclear.

    facts/ID.toml          one licence: its facts with their sources, its other names, and the digests of its wordings
    texts/ID.txt           its text, word for word
    use_policies.toml      acceptable-use policies that licences take up by reference

A fact that the text does not settle is not stated. To add a licence: these two files; a test tells what is missing.
This is the one place in `policies` that reads files: they are part of the package, like its code, and no setting or
working directory decides what is read.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Annotated, Generic, Literal, TypeVar

import msgspec
from msgspec import Meta, Struct, structs

from policies.facts import Forbidden

__all__ = [
    "Derive",
    "Entry",
    "Facts",
    "Source",
    "Stated",
    "UsePolicy",
    "entries",
    "entry",
    "text",
    "use_policies",
    "use_policy_text",
]

Derive = Literal["none", "local", "share"]
Territory = Annotated[str, Meta(pattern="^[A-Z]{2}$")]
Digest = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
Day = Annotated[str, Meta(pattern=r"^20\d\d-[01]\d-[0-3]\d$")]
Url = Annotated[str, Meta(pattern="^https?://")]
Limit = Annotated[int, Meta(ge=1, le=2**62)]
_T = TypeVar("_T")


class Facts(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a text says, or several texts together; None where that is not known, or for a limit, where there is none.

    `commercial`: use for commercial purposes is allowed. `derive`: a derivative, such as a compressed model, may not be
    made ("none"), made but not passed on ("local"), or made and passed on ("share"). `share_alike`: a derivative must
    stay under the same terms. `attribution`: notices go with every copy. `notice_file`: so does a NOTICE file, where
    there is one, and `notices` are words that it has to hold. `changes`: that something was changed is said.
    `prefixes` are what the name of a derivative begins with, `displays` what whoever offers it shows.
    `limits`: some uses are forbidden, `forbidden` those that a rule could tell; `pass_on`: to whoever gets a copy, too.
    `hosted`: to host it is to distribute it, `no_hosting`: it may not be hosted for others, `network`: who uses it over
    a network may have its source. `research`: for research alone. `guardrails`: who takes off a guard loses the
    licence. `territories`: where nothing is granted (EU, and countries by ISO 3166-1), `multimodal`: the same for
    models of more than text. `users`: most monthly users, `revenue`: most US dollars a year. `revocable`: what was
    granted can be taken back.
    """

    commercial: bool | None = None
    derive: Derive | None = None
    share_alike: bool | None = None
    attribution: bool | None = None
    notice_file: bool | None = None
    notices: tuple[str, ...] = ()
    changes: bool | None = None
    prefixes: tuple[str, ...] = ()
    displays: tuple[str, ...] = ()
    limits: bool | None = None
    forbidden: tuple[Forbidden, ...] = ()
    pass_on: bool | None = None
    hosted: bool | None = None
    no_hosting: bool | None = None
    network: bool | None = None
    research: bool | None = None
    guardrails: bool | None = None
    territories: tuple[Territory, ...] = ()
    multimodal: tuple[Territory, ...] = ()
    users: Limit | None = None
    revenue: Limit | None = None
    revocable: bool | None = None


class Source(Struct, Generic[_T], frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A fact and where it stands: the section, the words that say so, where some do, and the address of the text,
    where that is another one than the licence's."""

    value: _T
    section: Annotated[str, Meta(min_length=3)]
    words: str = ""
    url: Url | None = None


class Stated(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The facts of one text, by the names of `Facts`, each with its source."""

    commercial: Source[bool] | None = None
    derive: Source[Derive] | None = None
    share_alike: Source[bool] | None = None
    attribution: Source[bool] | None = None
    notice_file: Source[bool] | None = None
    notices: Source[tuple[str, ...]] | None = None
    changes: Source[bool] | None = None
    prefixes: Source[tuple[str, ...]] | None = None
    displays: Source[tuple[str, ...]] | None = None
    limits: Source[bool] | None = None
    forbidden: Source[tuple[Forbidden, ...]] | None = None
    pass_on: Source[bool] | None = None
    hosted: Source[bool] | None = None
    no_hosting: Source[bool] | None = None
    network: Source[bool] | None = None
    research: Source[bool] | None = None
    guardrails: Source[bool] | None = None
    territories: Source[tuple[Territory, ...]] | None = None
    multimodal: Source[tuple[Territory, ...]] | None = None
    users: Source[Limit] | None = None
    revenue: Source[Limit] | None = None
    revocable: Source[bool] | None = None


class Entry(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A licence in the table. `spdx` is its SPDX identifier, or a LicenseRef: the scancode project's, where it has one;
    `read` the day on which the copy in texts/ was read; `names` what model cards call it beside its identifier, in
    words of lower case; `wordings` the digests of its text, with and without the parts that are no terms."""

    format: Literal[1]
    spdx: Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9.-]{0,79}$")]
    name: str
    family: Literal[
        "permissive", "copyleft", "creative commons", "public domain", "data", "responsible use", "community",
        "research",
    ]  # fmt: skip
    url: Url
    read: Day
    names: tuple[str, ...]
    wordings: Annotated[tuple[Digest, ...], Meta(min_length=1)]
    facts: Stated
    use_policy: str | None = None

    def plain(self) -> Facts:
        """The facts without their sources."""
        return Facts(**{name: source.value for name, source in structs.asdict(self.facts).items() if source})


class UsePolicy(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An acceptable-use policy. Without `wordings` its text was not taken in, and any text is unknown."""

    name: str
    url: Url
    read: Day | None = None
    wordings: tuple[Digest, ...] = ()


class _UsePolicies(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    format: Literal[1]
    policies: dict[str, UsePolicy]


@cache
def _ids() -> frozenset[str]:
    return frozenset(one.name.removesuffix(".toml") for one in files(__package__).joinpath("facts").iterdir())


@cache
def entry(spdx: str) -> Entry | None:
    """The licence with this identifier, or None where it is not in the table."""
    if spdx not in _ids():
        return None
    return msgspec.convert(tomllib.loads(_read("facts", f"{spdx}.toml")), Entry)


def entries() -> Mapping[str, Entry]:
    """Every licence by its identifier."""
    return {spdx: found for spdx in sorted(_ids()) if (found := entry(spdx)) is not None}


@cache
def use_policies() -> Mapping[str, UsePolicy]:
    """Every acceptable-use policy that a licence names, by the name that it has here."""
    return msgspec.convert(tomllib.loads(_read("use_policies.toml")), _UsePolicies).policies


def text(spdx: str) -> str:
    """The canonical text of a licence in the table, for a bundle whose source brought none.

    The MIT licence has a line for the copyright holder; it is left as the template has it. So are those of others.
    """
    if spdx not in _ids():
        raise KeyError(spdx)
    return _read("texts", f"{spdx}.txt")


def use_policy_text(name: str) -> str:
    """The text of an acceptable-use policy that was taken in, as `text` gives that of a licence."""
    if name not in use_policies() or not use_policies()[name].wordings:
        raise KeyError(name)
    return _read("texts", f"{name}.txt")


def _read(*place: str) -> str:
    return files(__package__).joinpath(*place).read_text(encoding="utf-8")
