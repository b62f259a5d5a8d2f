"""Several texts in one file, each on a page of its own, so that each can be told by its words again."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["bound", "pages"]

_BREAK = "\n\f\n"


def bound(texts: Iterable[str]) -> str:
    """The texts in order, each once, with a form feed between two."""
    # a form feed inside of a text, as the GPL has them, is no word of it
    return _BREAK.join(dict.fromkeys(text.replace("\f", "\n") for text in texts))


def pages(text: str) -> tuple[str, ...]:
    """The texts that `bound` put together; a file that holds one text is that."""
    return tuple(page.strip("\n") for page in text.split("\f") if page.strip())
