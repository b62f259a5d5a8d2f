"""A source whose export is at hand, for tests of what becomes of an export: to make one takes seconds."""

from __future__ import annotations

from typing import Any

from toolkit.compress.source import Original, Source

__all__ = ["Known"]


class Known:
    """The source, loaded as ever; only the export was made before, from the same weights, and is still checked."""

    def __init__(self, source: Source, exported: bytes) -> None:
        self._source = source
        self._exported = exported

    def load(self) -> _Original:
        return _Original(self._source.load(), self._exported)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._source, name)


class _Original:
    def __init__(self, original: Original, exported: bytes) -> None:
        self._original = original
        self._exported = exported

    def export(self) -> bytes:
        return self._exported

    def __getattr__(self, name: str) -> Any:
        return getattr(self._original, name)
