"""The values of Cedar in Python, with the operations in which the two languages differ.

Bool, Long and String are bool, int and str; a Set is a frozenset; a Record and the attributes of an Entity are dicts.
Where Python would go on with a wrong value, these raise: a rule that fails refuses, and one that goes on might not.
Source: the Cedar language reference, https://docs.cedarpolicy.com (operators, "Error handling").
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

__all__ = [
    "ABSENT",
    "Entity",
    "EvaluationError",
    "Record",
    "Uid",
    "add",
    "known",
    "like",
    "multiply",
    "negate",
    "record",
    "subtract",
    "within",
]

Uid = tuple[str, str]  # entity type, id


class EvaluationError(Exception):
    """A rule cannot be evaluated. The message is the kind of the error, never a value."""


class Record(dict[str, Any]):
    """A record, equal to records only, so that an entity without attributes is no empty record."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        # not simply False: what is absent raises when it is asked in turn
        return dict.__eq__(self, other) if type(other) is Record else NotImplemented

    def __ne__(self, other: object) -> bool:
        return dict.__ne__(self, other) if type(other) is Record else NotImplemented

    def __hash__(self) -> int:  # type: ignore[override] # dict has none; nothing changes a record once it is made
        return hash(frozenset(self.items()))


class Entity(dict[str, Any]):
    """An entity: its attributes as items, its tags, and the uids of itself and all ancestors. Equal by uid."""

    __slots__ = ("family", "tags", "type", "uid")

    def __init__(
        self,
        uid: Uid,
        attributes: Mapping[str, Any] | None = None,
        ancestors: frozenset[Uid] = frozenset(),
        tags: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(attributes or {})
        self.uid = uid
        self.type = uid[0]
        self.family = ancestors | {uid}
        self.tags = tags or {}

    def __eq__(self, other: object) -> bool:
        return self.uid == other.uid if type(other) is Entity else NotImplemented

    def __ne__(self, other: object) -> bool:
        return self.uid != other.uid if type(other) is Entity else NotImplemented

    def __hash__(self) -> int:  # type: ignore[override] # dict has none; the uid of an entity never changes
        return hash(self.uid)


class _Absent:
    """An attribute that is not there. Whatever is done with it raises, also what Python would answer with False."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        raise EvaluationError("missing attribute")

    __ne__ = __lt__ = __le__ = __gt__ = __ge__ = __contains__ = __getitem__ = __eq__

    def __hash__(self) -> int:
        raise EvaluationError("missing attribute")

    def __bool__(self) -> bool:
        raise EvaluationError("missing attribute")

    def __iter__(self) -> Iterator[Any]:
        raise EvaluationError("missing attribute")

    def __getattr__(self, name: str) -> Any:
        raise EvaluationError("missing attribute")


ABSENT = _Absent()
_LEAST, _MOST = -(2**63), 2**63 - 1


def _long(value: int) -> int:
    if not _LEAST <= value <= _MOST:
        raise EvaluationError("integer overflow")
    return value


def add(left: int, right: int) -> int:
    return _long(left + right)


def subtract(left: int, right: int) -> int:
    return _long(left - right)


def multiply(left: int, right: int) -> int:
    return _long(left * right)


def negate(value: int) -> int:
    return _long(-value)


def record(names: tuple[str, ...], *values: Any) -> Record:
    """A record literal."""
    for value in values:
        if value is ABSENT:
            raise EvaluationError("missing attribute")
    return Record(zip(names, values, strict=True))


def like(text: str, pieces: tuple[str, ...]) -> bool:
    """Whether the text is made of these pieces with anything between them; in linear time, unlike a regex."""
    if len(pieces) == 1:
        return text == pieces[0]
    first, last = pieces[0], pieces[-1]
    if len(text) < len(first) + len(last) or not (text.startswith(first) and text.endswith(last)):
        return False
    place, end = len(first), len(text) - len(last)
    for piece in pieces[1:-1]:
        place = text.find(piece, place, end)
        if place < 0:
            return False
        place += len(piece)
    return True


def within(entity: Entity, place: Entity | frozenset[Entity]) -> bool:
    """Whether an entity is, or descends from, another one or one of a set."""
    if isinstance(place, frozenset):
        return any(one.uid in entity.family for one in place)
    return place.uid in entity.family


def known(literal: Entity, principal: Entity, resource: Entity, others: Mapping[Uid, Entity]) -> Entity:
    """The entity that a literal names with its attributes, where there is one in the request."""
    if literal.uid == principal.uid:
        return principal
    if literal.uid == resource.uid:
        return resource
    return others.get(literal.uid, literal)
