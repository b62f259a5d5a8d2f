"""Optional parts: said in one line what to install, instead of a traceback."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import ClassVar

from policies.errors import Unusable

__all__ = ["MissingExtra", "needs"]


class MissingExtra(Unusable):
    """An optional part of sealpress that is not installed."""

    hints: ClassVar[Mapping[str, str]] = {
        "extra_missing": "Install what the message names; for a CPU-only torch, install that first (see the README).",
    }


@contextmanager
def needs(extra: str) -> Iterator[None]:
    """Import the libraries of an extra inside this context. Raises MissingExtra when one of them is not there."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise MissingExtra("extra_missing", f"{error.name} is missing: pip install 'sealpress[{extra}]'") from None
