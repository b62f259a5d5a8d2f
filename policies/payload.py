"""The one payload of a call: a JSON value plus named bytes, checked once, and the same for scan, model and journal."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import ClassVar

from msgspec import Struct

from policies.errors import Unusable

__all__ = ["InputError", "Payload"]

MAX_CHARACTERS = 1_000_000
MAX_BYTES = 64_000_000
MAX_VALUES = 100_000
MAX_DEPTH = 32
MAX_DIGITS = 400


class InputError(Unusable):
    """An input that no model can be given."""

    hints: ClassVar[Mapping[str, str]] = {
        "input_empty": "Give at least one text, and no text that is empty.",
        "input_type": "Give strings, numbers, booleans, lists and objects with string keys, as JSON has them.",
        "input_unicode": "Give text that can be written as UTF-8; check the encoding of the file it came from.",
        "input_number": "Give finite numbers of ordinary length: NaN and infinities are not JSON.",
        "input_too_large": "Send less at once: split the texts over several calls.",
        "input_turns": "Give user and assistant in turn, a user first and last; a system text may stand before them.",
        "input_too_deep": "Flatten the value: it may be nested at most 32 deep.",
    }


class Payload(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`value` is a JSON value, `blobs` are named bytes (tensors, images)."""

    value: object
    blobs: dict[str, bytes] = {}

    @classmethod
    def checked(cls, value: object, blobs: Mapping[str, bytes] | None = None) -> Payload:
        """A payload with a copy of the value, so that nobody can change it between its scan, its record and its run.

        Raises InputError when it is no JSON or Unicode, not finite, too deep or too large.
        """
        budget = _Budget()
        copied = budget.copy(value)
        named: dict[str, bytes] = {}
        for name, data in ({} if blobs is None else blobs).items():
            if not isinstance(data, bytes):
                raise InputError("input_type", f"a blob is a {type(data).__name__}, bytes are needed")
            named[budget.text(name)] = data
        size = sum(map(len, named.values()))
        if size > MAX_BYTES:
            raise InputError("input_too_large", f"{size} bytes; at most {MAX_BYTES} go into one call")
        return cls(value=copied, blobs=named)

    def texts(self) -> Iterator[str]:
        """Every string and number of the value, keys included, and the names of the blobs: all that may be personal."""
        yield from _leaves(self.value)
        yield from self.blobs


class _Budget:
    """Copies a JSON value while it counts what it takes."""

    def __init__(self) -> None:
        self._characters = MAX_CHARACTERS
        self._values = MAX_VALUES

    def copy(self, value: object, depth: int = 0) -> object:
        if depth > MAX_DEPTH:
            raise InputError("input_too_deep", f"the value is nested more than {MAX_DEPTH} deep")
        self._values -= 1
        if self._values < 0:
            raise InputError("input_too_large", f"more than {MAX_VALUES} values in one call")
        match value:
            case str():
                return self.text(value)
            case bool() | None:
                return value
            case int():
                return self._number(value, abs(value) < 10**MAX_DIGITS)
            case float():
                return self._number(value, math.isfinite(value))
            case list() | tuple():
                return [self.copy(item, depth + 1) for item in value]
            case dict():
                return {self.text(key): self.copy(item, depth + 1) for key, item in value.items()}
            case _:
                raise InputError("input_type", f"the value holds a {type(value).__name__}")

    def text(self, value: object) -> str:
        if not isinstance(value, str):
            raise InputError("input_type", f"the value has a key of type {type(value).__name__}")
        self._characters -= len(value)
        if self._characters < 0:
            raise InputError("input_too_large", f"more than {MAX_CHARACTERS} characters in one call")
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise InputError("input_unicode", f"a text is not valid Unicode at position {error.start}") from None
        return value

    def _number(self, value: float, usable: bool) -> float:
        if not usable:
            raise InputError("input_number", "the value holds a number that is not finite or far too long")
        return value


def _leaves(value: object) -> Iterator[str]:
    """The strings and numbers of a checked value in order; a number counts, since a card may be written as one."""
    match value:
        case str():
            yield value
        case bool() | None:
            return
        case int():
            yield str(value)
        case float():
            yield f"{value:.0f}" if value.is_integer() else str(value)
        case list():
            for item in value:
                yield from _leaves(item)
        case dict():
            for key, item in value.items():
                yield key
                yield from _leaves(item)
