"""How keys and usage grants name models."""

from __future__ import annotations

__all__ = ["fits"]


def fits(pattern: str, name: str, version: str) -> bool:
    """Whether NAME or NAME@VERSION, where a * at the end of either stands for any ending, means this model."""
    named, at, versioned = pattern.rpartition("@")
    if not at:
        return _ends(pattern, name)
    return _ends(named, name) and _ends(versioned, version)


def _ends(pattern: str, text: str) -> bool:
    return text.startswith(pattern[:-1]) if pattern.endswith("*") else text == pattern
