"""A schema as rows of a table: each field with its kind in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

__all__ = ["Row", "rows"]

_BOUNDS: Final = {
    "minimum": "at least {}",
    "maximum": "at most {}",
    "minLength": "at least {} characters",
    "maxLength": "at most {} characters",
    "minItems": "at least {}",
    "maxItems": "at most {}",
}


class Row(NamedTuple):
    name: str
    kind: str
    required: bool
    text: str


def rows(
    schema: Mapping[str, Any], document: Mapping[str, Any], name: str = "", required: bool = False
) -> Iterator[Row]:
    """The fields of a schema, those inside others behind them: `data[].index`. What is no object is one row."""
    said = schema.get("description", "")
    known = _known(schema, document)
    if name or "properties" not in known:
        yield Row(name, kind(schema, document), required, said or known.get("description", ""))
    inside, at = known, name
    if known.get("type") == "array":
        inside, at = _known(known.get("items", {}), document), f"{name}[]"
    for field, value in inside.get("properties", {}).items():
        needed = field in inside.get("required", ())
        yield from rows(value, document, f"{at}.{field}" if at else field, needed)


def kind(schema: Mapping[str, Any], document: Mapping[str, Any]) -> str:
    """What a value is, in words."""
    if "$ref" in schema:
        return kind(_known(schema, document), document)
    if "const" in schema or "enum" in schema:
        return " or ".join(map(_literal, schema.get("enum", [schema.get("const")])))
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(kind(one, document) for one in schema["anyOf"]))
    of = schema.get("type", "any")
    named = " or ".join(of) if isinstance(of, list) else of
    if named == "array" and "items" in schema:
        named = f"array of {kind(schema['items'], document)}"
    bounds = ", ".join(text.format(schema[bound]) for bound, text in _BOUNDS.items() if bound in schema)
    return f"{named} ({bounds})" if bounds else named


def _known(schema: Mapping[str, Any], document: Mapping[str, Any]) -> Mapping[str, Any]:
    """The schema that a reference names."""
    if "$ref" not in schema:
        return schema
    found: Mapping[str, Any] = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return found


def _literal(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
