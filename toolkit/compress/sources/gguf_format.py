"""The GGUF container: metadata and tensors of a file that somebody brought, read with a bound on every count.

Nothing in the file is believed: a count is held against the bytes that are left before anything is made for it, a name
stands once, and every tensor lies inside the file and on no other. The format is that of the ggml project
(docs/gguf.md there), versions 2 and 3, little-endian.
"""

from __future__ import annotations

import struct
from math import prod
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from toolkit.compress.errors import SourceError
from toolkit.compress.sources.gguf_numbers import FORMS, floats

__all__ = ["Gguf", "TensorInfo"]

MAGIC = b"GGUF"
VERSIONS = (2, 3)
MAX_KEYS = 10_000
MAX_TENSORS = 20_000
MAX_NAME = 512
MAX_TEXT = 1_000_000
MAX_ARRAY = 4_000_000
MAX_DIMS = 4
MAX_ALIGNMENT = 65_536

_STRING, _ARRAY = 8, 9
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_DTYPES = {code: np.dtype(f"<{letter}") for code, letter in _SCALARS.items()}


class TensorInfo(NamedTuple):
    """`shape` with the dimension that lies together in the file last, as numpy has it; `start` in bytes from the
    beginning of the file."""

    name: str
    shape: tuple[int, ...]
    form: int
    start: int
    size: int


class Gguf:
    """A file in memory. `metadata` by key: numbers, booleans, texts, numpy arrays of numbers, lists of texts."""

    def __init__(self, data: bytes) -> None:
        """Raises SourceError "source_malformed"."""
        self._data = memoryview(data)
        self._at = 0
        if self._take(4) != MAGIC:
            raise _broken("it does not begin as a GGUF file does")
        version = self._number("I")
        if version not in VERSIONS:
            raise _broken(f"version {version} is not among {VERSIONS}; a file of a big-endian machine is not taken")
        tensors, keys = self._number("Q"), self._number("Q")
        self._bounded(tensors, MAX_TENSORS, 24, "tensors")
        self._bounded(keys, MAX_KEYS, 13, "keys")
        self.metadata: dict[str, Any] = {}
        for _ in range(keys):
            key = self._text(MAX_NAME)
            if key in self.metadata:
                raise _broken(f"the key {key[:80]!r} stands there twice")
            self.metadata[key] = self._value(self._number("I"))
        self.tensors = self._infos(tensors)

    def of(self, key: str, kind: type[Any] | tuple[type[Any], ...], default: Any = None) -> Any:
        """A value of the metadata of some type. Raises SourceError "source_config" for another, or none at all where
        there is no default."""
        value = self.metadata.get(key, default)
        wrong = isinstance(value, bool) and kind is not bool
        if value is None or wrong or not isinstance(value, kind):
            raise SourceError("source_config", f"the key {key!r} of the GGUF file is missing, or of another type")
        return value

    def read(self, info: TensorInfo) -> NDArray[np.float32]:
        """A tensor as floats, of its shape."""
        return floats(self.content(info), info.form).reshape(info.shape)

    def content(self, info: TensorInfo) -> memoryview:
        """The bytes of a tensor, as they are stored."""
        return self._data[info.start : info.start + info.size]

    def _infos(self, count: int) -> dict[str, TensorInfo]:
        raw = [self._info() for _ in range(count)]
        alignment = self.metadata.get("general.alignment", 32)
        if not isinstance(alignment, int) or not 1 <= alignment <= MAX_ALIGNMENT or alignment & (alignment - 1):
            raise _broken(f"its alignment {str(alignment)[:20]} is no power of two")
        begin = -(-self._at // alignment) * alignment
        found: dict[str, TensorInfo] = {}
        for info in raw:
            placed = info._replace(start=begin + info.start)
            if info.name in found:
                raise _broken(f"the tensor {info.name[:80]!r} stands there twice")
            if info.start % alignment or placed.start + placed.size > len(self._data):
                raise _broken(f"the tensor {info.name[:80]!r} does not lie inside the file: it is cut short")
            found[info.name] = placed
        end = 0
        for info in sorted(found.values(), key=lambda one: one.start):
            if info.start < end:
                raise _broken(f"the tensor {info.name[:80]!r} lies on another one")
            end = info.start + info.size
        return found

    def _info(self) -> TensorInfo:
        name, rank = self._text(MAX_NAME), self._number("I")
        if not 1 <= rank <= MAX_DIMS:
            raise _broken(f"the tensor {name[:80]!r} has {rank} dimensions")
        shape = tuple(self._number("Q") for _ in range(rank))[::-1]
        form, start = self._number("I"), self._number("Q")
        if form not in FORMS:
            known = ", ".join(one.name for one in FORMS.values())
            raise SourceError("source_unsupported", f"{name[:80]!r} is stored in the type {form}; known are {known}")
        count, kind = prod(shape), FORMS[form]
        if not 0 < count <= 8 * len(self._data) or shape[-1] % kind.numbers:
            raise _broken(f"the tensor {name[:80]!r} has a shape that cannot be: {str(shape)[:80]}")
        return TensorInfo(name, shape, form, start, count // kind.numbers * kind.size)

    def _value(self, kind: int) -> Any:
        if kind in _SCALARS:
            return self._number(_SCALARS[kind])
        if kind == _STRING:
            return self._text(MAX_TEXT)
        if kind != _ARRAY:
            raise _broken(f"a value has the type {kind}")
        inner, count = self._number("I"), self._number("Q")
        if inner == _STRING:
            self._bounded(count, MAX_ARRAY, 8, "texts of a list")
            return [self._text(MAX_TEXT) for _ in range(count)]
        if inner not in _DTYPES:
            raise _broken(f"a list has values of the type {inner}")
        width = _DTYPES[inner].itemsize
        self._bounded(count, MAX_ARRAY, width, "numbers of a list")
        return np.frombuffer(self._take(count * width), _DTYPES[inner])

    def _text(self, limit: int) -> str:
        size = self._number("Q")
        self._bounded(size, limit, 1, "characters of a text")
        try:
            return self._take(size).decode()
        except UnicodeDecodeError:
            raise _broken("a text is no UTF-8") from None

    def _number(self, letter: str) -> Any:
        return struct.unpack(f"<{letter}", self._take(struct.calcsize(f"<{letter}")))[0]

    def _take(self, count: int) -> bytes:
        if count > len(self._data) - self._at:
            raise _broken("it is cut short")
        self._at += count
        return bytes(self._data[self._at - count : self._at])

    def _bounded(self, count: int, limit: int, least: int, what: str) -> None:
        """Refuse a count of more than is ever needed, or of more than the rest of the file can hold."""
        if count > limit or count * least > len(self._data) - self._at:
            raise _broken(f"it says that it has {count} {what}")


def _broken(what: str) -> SourceError:
    return SourceError("source_malformed", f"the GGUF file: {what}")
