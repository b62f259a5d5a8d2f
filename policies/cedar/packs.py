"""Packs: rules with the parameters that settings fill, as data.

    NAME/policy.cedar           the rules, each with the article behind it in @source
    NAME/schema.cedarschema     the type of the parameters, where there are any
    NAME/pack.toml              what the pack is about, and the parameters with what holds where settings say nothing
    NAME/cases.toml             calls that it allows and refuses
    NAME/rows.toml              more of them, made of a table that its rules go by, where there is one
    NAME/claims.toml            what holds of every call that it allows

A rule reads a parameter as `context.packs.NAME.PARAMETER`, with underscores for the dashes of a name.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Struct

from policies.cedar.source import PolicyError

__all__ = ["Pack", "Parameter", "Parameters", "filled", "schema"]

Parameter = bool | int | str | list[str]
# by pack, under its name in rules, and by parameter
Parameters = Mapping[str, dict[str, Parameter]]

_MOST = 2**63 - 1


class _Manifest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    title: str
    about: str
    parameters: dict[str, Parameter] = {}


class Pack(Struct, frozen=True, kw_only=True):
    """A pack as it was read: the content of its files, and the parameters with their defaults."""

    name: str
    title: str
    about: str
    policy: bytes
    schema: bytes
    parameters: dict[str, Parameter]
    cases: bytes
    rows: bytes
    claims: bytes

    @classmethod
    def of(cls, name: str, content: Mapping[str, bytes]) -> Pack:
        """A pack from its files by name. Raises PolicyError."""
        try:
            manifest = msgspec.convert(tomllib.loads(content["pack.toml"].decode()), _Manifest)
        except (KeyError, UnicodeDecodeError, tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
            raise PolicyError("policy_pack", f"pack {name}: pack.toml: {error}") from None
        return cls(
            name=name,
            title=manifest.title,
            about=manifest.about,
            policy=content.get("policy.cedar", b""),
            schema=content.get("schema.cedarschema", b""),
            parameters=manifest.parameters,
            cases=content.get("cases.toml", b""),
            rows=content.get("rows.toml", b""),
            claims=content.get("claims.toml", b""),
        )

    @property
    def key(self) -> str:
        """Its name in rules."""
        return self.name.replace("-", "_")

    @property
    def type_(self) -> str:
        """The name of the type of its parameters."""
        return "".join(part.capitalize() for part in self.name.split("-"))


def schema(facts: bytes, packs: Sequence[Pack]) -> bytes:
    """The schema of the facts with the parameters of these packs."""
    members = "".join(f"  {pack.key}: {pack.type_},\n" for pack in packs if pack.schema)
    return b"\n".join([facts, *(pack.schema for pack in packs), f"type Packs = {{\n{members}}};\n".encode()])


def filled(packs: Sequence[Pack], given: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Parameter]]:
    """The parameters of the packs as settings fill them, by pack name; the others as the packs have them.

    Raises PolicyError: policy_pack for a pack that is not in force, a parameter that it does not have, or a value of
    another type.
    """
    known = {pack.name: pack for pack in packs}
    for name, values in given.items():
        if name not in known:
            raise PolicyError("policy_pack", f"parameters for {name[:80]!r}, which is no pack in force")
        for parameter, value in values.items():
            _check(known[name], parameter, value)
    return {pack.key: {**pack.parameters, **given.get(pack.name, {})} for pack in packs if pack.parameters}


def _check(pack: Pack, parameter: str, value: object) -> None:
    default = pack.parameters.get(parameter)
    if default is None:
        raise PolicyError("policy_pack", f"the pack {pack.name} has no parameter {parameter[:80]!r}")
    if type(value) is not type(default):
        raise PolicyError("policy_pack", f"{pack.name}.{parameter} is of another type")
    if isinstance(value, int) and not 0 <= value <= _MOST:
        raise PolicyError("policy_pack", f"{pack.name}.{parameter} is out of range")
