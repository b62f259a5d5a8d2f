"""Numbers of a report, each with the leaves that it stands on."""

from __future__ import annotations

from msgspec import Struct

from compliance.controls.leaves import Leaves, ranges

__all__ = ["Figure", "Row", "Table", "figure"]


class Figure(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A number, by a name that no other of the report has. `leaves` are ranges such as shard-000/3-17."""

    id: str
    value: int | float
    leaves: Leaves = ()


class Row(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A row of a table. `name` may be a caller's own text, and is not yet made plain."""

    name: str
    figures: tuple[Figure, ...]
    note: str = ""


class Table(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`title`, `column` and `heads` are keys of words.toml."""

    id: str
    title: str
    column: str
    heads: tuple[str, ...]
    rows: tuple[Row, ...]


def figure(id_: str, records: list[str]) -> Figure:
    """How many records these are."""
    return Figure(id=id_, value=len(records), leaves=ranges(records))
