"""The types of a schema, for whoever has to know them without a request: proofs.

Cedar's own validator has taken the schema before, so this reads what the schemas of packs consist of and refuses the
rest. Source: https://docs.cedarpolicy.com/schema/human-readable-schema.html.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from policies.cedar.source import PolicyError

__all__ = ["Attribute", "EntityType", "RecordType", "Schema", "SetType", "Type"]

_WORD = re.compile(r'//[^\n]*|"(?:[^"\\]|\\.)*"|[A-Za-z_][A-Za-z0-9_]*|[^\sA-Za-z0-9_]')


class SetType(NamedTuple):
    of: Type


class EntityType(NamedTuple):
    name: str


class Attribute(NamedTuple):
    type_: Type
    optional: bool


class RecordType(NamedTuple):
    attributes: dict[str, Attribute]


Type = str | SetType | RecordType | EntityType  # a str is Bool, Long or String


class Schema:
    """The attributes of every type of entity, and the context, which is the same for all actions."""

    def __init__(self, text: str) -> None:
        """Raises PolicyError: policy_schema for what is not read here."""
        self._tokens = [match[0] for match in _WORD.finditer(text) if not match[0].startswith("//")]
        self._place = 0
        self._common: dict[str, Type] = {}
        self._entities: dict[str, RecordType] = {}
        self.actions: list[str] = []
        self._context: Type | None = None
        while self._place < len(self._tokens):
            self._declaration()

    @property
    def context(self) -> RecordType:
        found = None if self._context is None else self.resolved(self._context)
        if not isinstance(found, RecordType):
            raise PolicyError("policy_schema", "the schema has no context")
        return found

    def entity(self, name: str) -> RecordType:
        return self._entities[name]

    def resolved(self, type_: Type) -> Type:
        """A type with its name replaced by what it stands for."""
        if isinstance(type_, EntityType) and type_.name in self._common:
            return self.resolved(self._common[type_.name])
        return type_

    def _declaration(self) -> None:
        match self._next():
            case "entity":
                name = self._next()
                self._take("=")
                found = self._type()
                if not isinstance(found, RecordType):
                    raise self._refused()
                self._entities[name] = found
            case "type":
                name = self._next()
                self._take("=")
                self._common[name] = self._type()
            case "action":
                self.actions += self._until("appliesTo")
                self._applies()
            case _:
                raise self._refused()
        self._take(";")

    def _applies(self) -> None:
        self._take("{")
        while self._peek() != "}":
            name = self._next()
            self._take(":")
            found = self._type()
            if name == "context":
                if self._context not in (None, found):
                    raise self._refused()
                self._context = found
            self._skip(",")
        self._take("}")

    def _type(self) -> Type:
        word = self._next()
        if word == "{":
            return RecordType(dict(self._attributes()))
        if word == "Set":
            self._take("<")
            of = self._type()
            self._take(">")
            return SetType(of)
        return word if word in ("Bool", "Long", "String") else EntityType(word)

    def _attributes(self) -> Iterator[tuple[str, Attribute]]:
        while self._peek() != "}":
            name = self._next().strip('"')
            optional = self._skip("?")
            self._take(":")
            yield name, Attribute(self._type(), optional)
            self._skip(",")
        self._take("}")

    def _until(self, end: str) -> list[str]:
        found = []
        while (word := self._next()) != end:
            # a parent of an action (`in`) would make more rules be about it
            if not re.fullmatch(r'[A-Za-z_][A-Za-z0-9_]*|"[^"\\]*"|,', word) or word == "in":
                raise self._refused()
            if word != ",":
                found.append(word.strip('"'))
        return found

    def _peek(self) -> str:
        return self._tokens[self._place] if self._place < len(self._tokens) else ""

    def _next(self) -> str:
        word = self._peek()
        if not word:
            raise self._refused()
        self._place += 1
        return word

    def _skip(self, word: str) -> bool:
        found = self._peek() == word
        self._place += found
        return found

    def _take(self, word: str) -> None:
        if not self._skip(word):
            raise self._refused()

    def _refused(self) -> PolicyError:
        return PolicyError("policy_schema", f"proofs do not read the schema at {self._peek()[:40]!r}")
