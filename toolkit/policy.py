"""A policy before it is in force: packs that come with sealpress, rules of the user's own, and what fills them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from importlib.resources import files
from pathlib import Path
from typing import Any

from msgspec import Struct, structs

from policies.cedar import Engine, Pack, filled, load, schema
from policies.cedar.cases import Cases, Tried, tried
from policies.cedar.packs import Parameter
from policies.cedar.source import MAX_BYTES
from policies.facts import Purpose
from toolkit.settings import Settings, SettingsError, read_settings

__all__ = ["Policy", "pack", "packs", "schema_text"]

CASES, CLAIMS = "cases.toml", "claims.toml"


class Policy(Struct, frozen=True, kw_only=True):
    """Packs and rule files that are taken together, by name, with their cases and claims.

    `own` names the files that are meant, where others are there because those need them; `unfilled`: no settings fill
    the parameters.
    """

    packs: tuple[Pack, ...]
    texts: dict[str, bytes]
    own: frozenset[str]
    cases: dict[str, bytes]
    claims: dict[str, bytes]
    purposes: dict[str, Purpose] = {}
    parameters: dict[str, dict[str, Any]] = {}
    unfilled: bool = False

    @classmethod
    def in_force(cls, path: Path, settings: Settings) -> Policy:
        """What settings at a path put in force. Raises SettingsError, PolicyError."""
        chosen = tuple(map(pack, settings.policy.packs))
        rules = {name: _read(path.parent / name) for name in settings.policy.rules}
        texts = {**_texts(chosen), **rules}
        return cls(
            packs=chosen,
            texts=texts,
            own=frozenset(texts),
            cases={name: _read(path.parent / name) for name in settings.policy.cases},
            claims={**_claims(chosen), **{name: _read(path.parent / name) for name in settings.policy.claims}},
            purposes=settings.purposes,
            parameters={name: dict(given) for name, given in settings.policy.parameters.items()},
        )

    @classmethod
    def shipped(cls, name: str) -> Policy:
        """A pack, together with the base, which permits. Raises SettingsError."""
        chosen = tuple(pack(one) for one in dict.fromkeys(("base", name)))
        own = frozenset(_texts(chosen[-1:]))
        return cls(
            packs=chosen,
            texts=_texts(chosen),
            own=own,
            cases={f"{name}/{CASES}": chosen[-1].cases, **_rows(chosen[-1])},
            claims=_claims(chosen),
            unfilled=True,
        )

    @classmethod
    def beside(cls, place: Path, settings: Path | None) -> Policy:
        """A Cedar file or a folder of them with its cases.toml, together with what settings choose and declare, or with
        the base where there are none. Raises SettingsError, PolicyError."""
        rules = sorted(place.glob("*.cedar")) if place.is_dir() else [place]
        if not rules:
            raise SettingsError("settings_pack", f"{place} holds no .cedar file")
        own = {file.name: _read(file) for file in rules}
        folder = place if place.is_dir() else place.parent
        cases, claims = folder / CASES, folder / CLAIMS
        found = cls.shipped("base") if settings is None else cls.in_force(settings, read_settings(settings))
        return structs.replace(
            found,
            texts={**_texts(found.packs), **own},
            own=frozenset(own),
            cases={CASES: _read(cases)} if cases.is_file() else {},
            claims={**found.claims, **({CLAIMS: _read(claims)} if claims.is_file() else {})},
        )

    def engine(self, added: Cases | None = None) -> Engine:
        """The compiled policy, with the purposes and parameters that cases bring along. Raises PolicyError."""
        brought = added or Cases()
        parameters = filled(self.packs, {**self.parameters, **brought.parameters})
        return load(self.texts, self.schema, {**self.purposes, **brought.purposes}, parameters)

    @property
    def schema(self) -> bytes:
        return schema(schema_text(), self.packs)

    @property
    def filled(self) -> dict[str, dict[str, Parameter]]:
        """The parameters of the packs. Raises PolicyError."""
        return filled(self.packs, self.parameters)

    def tried(self) -> dict[str, list[Tried]]:
        """How all cases come out, by file. Raises PolicyError."""
        read = {name: Cases.read(name, data) for name, data in self.cases.items()}
        return {name: tried(self.engine(cases), cases) for name, cases in read.items()}


def pack(name: str) -> Pack:
    """A pack that comes with this version. Raises SettingsError."""
    folder = files("policies").joinpath("packs", name)
    if not re.fullmatch("[a-z][a-z-]{1,30}", name) or not folder.joinpath("policy.cedar").is_file():
        raise SettingsError("settings_pack", f"there is no pack {name[:80]!r}; there are {', '.join(packs())}")
    return Pack.of(name, {part.name: part.read_bytes() for part in folder.iterdir() if part.is_file()})


def packs() -> list[str]:
    """The names of the packs that come with this version."""
    return sorted(folder.name for folder in files("policies").joinpath("packs").iterdir() if folder.is_dir())


def schema_text() -> bytes:
    """The Cedar schema of the facts."""
    return files("policies").joinpath("packs", "schema.cedarschema").read_bytes()


def _texts(chosen: Iterable[Pack]) -> dict[str, bytes]:
    return {f"{one.name}/policy.cedar": one.policy for one in chosen}


def _rows(chosen: Pack) -> dict[str, bytes]:
    return {f"{chosen.name}/rows.toml": chosen.rows} if chosen.rows else {}


def _claims(chosen: Iterable[Pack]) -> dict[str, bytes]:
    return {f"{one.name}/{CLAIMS}": one.claims for one in chosen}


def _read(file: Path) -> bytes:
    try:
        with file.open("rb") as opened:
            # one byte more than is read of any of them, so that what is too large is refused as that
            return opened.read(MAX_BYTES + 1)
    except OSError as error:
        raise SettingsError("settings_pack", f"{file}: {error.strerror}") from None
