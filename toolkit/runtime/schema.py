"""Bounds on a JSON schema that an answer is to keep to, before anything is made of it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

__all__ = ["check_regex", "checked_schema"]

MAX_CHARACTERS = 16_384
MAX_DEPTH = 30
MAX_MULTIPLE = 10_000
MAX_COUNT = 1000  # of a repetition: each may be a state
_COUNTS = re.compile(r"\{([0-9]+)(?:,([0-9]*))?\}")


def checked_schema(schema: Mapping[str, Any]) -> dict[str, Any]:
    """A copy. Raises ValueError, which says why, for one that is no JSON, too large, or brings settings of the library.

    Nor are keywords taken that could not be kept to: numbers of which multiples are asked, where their product is
    large, since there is a state for each remainder; and a least number of properties beyond those that are required by
    name, since any other name may come twice.
    """
    try:
        text = json.dumps(schema, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        raise ValueError("the schema is no JSON") from None
    if len(text) > MAX_CHARACTERS:
        raise ValueError(f"the schema has more than {MAX_CHARACTERS} characters")
    copy: dict[str, Any] = json.loads(text)
    product = 1
    for one in _schemas(copy, 0):
        if "x-guidance" in one:
            raise ValueError("the schema has x-guidance, which is no keyword of JSON schema")
        multiple = one.get("multipleOf")
        if isinstance(multiple, int | float) and not isinstance(multiple, bool) and multiple > 0:
            product *= _digits(multiple)
        least, required = one.get("minProperties"), one.get("required")
        named = len(set(map(str, required))) if isinstance(required, list) else 0
        _check_patterns(one)
        if isinstance(least, int | float) and least > named:
            raise ValueError("minProperties is taken where as many are required by name")
    if product > MAX_MULTIPLE:
        raise ValueError(f"the numbers of multipleOf, without their points, multiply to more than {MAX_MULTIPLE}")
    return copy


def check_regex(regex: str) -> None:
    """Raises ValueError for one with a large count."""
    if any(int(count) > MAX_COUNT for found in _COUNTS.findall(regex) for count in found if count):
        raise ValueError(f"an expression repeats something more than {MAX_COUNT} times")


def _check_patterns(schema: Mapping[str, Any]) -> None:
    patterns = schema.get("patternProperties")
    for pattern in (schema.get("pattern"), *(patterns if isinstance(patterns, dict) else ())):
        if isinstance(pattern, str):
            check_regex(pattern)


def _schemas(value: object, depth: int) -> Iterator[Mapping[str, Any]]:
    """Every object in it, those that are no schemas included: a property may have any name, that of a keyword, too."""
    if depth > MAX_DEPTH:
        raise ValueError(f"the schema is nested more than {MAX_DEPTH} deep")
    if isinstance(value, list):
        for one in value:
            yield from _schemas(one, depth + 1)
    elif isinstance(value, dict):
        yield value
        for one in value.values():
            yield from _schemas(one, depth + 1)


def _digits(number: float) -> int:
    """The digits of a number as one integer: 0.25 is 25, since it is multiples of a hundredth that are looked at."""
    _, digits, exponent = Decimal(str(number)).normalize().as_tuple()
    assert isinstance(exponent, int)  # noqa: S101 - it is finite
    whole: int = int("".join(map(str, digits))) * 10 ** max(0, exponent)
    return whole
