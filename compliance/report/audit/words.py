"""The words of a report in the language that was asked for."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Literal

import msgspec
from msgspec import Struct

from compliance.controls.catalogue import Lang, Text

__all__ = ["words"]


class _Words(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    format: Literal[1]
    words: dict[str, Text]


@cache
def words(lang: Lang) -> dict[str, str]:
    """Every text by its key."""
    content = files("compliance.report.audit").joinpath("words.toml").read_bytes()
    return {key: text.said(lang) for key, text in msgspec.toml.decode(content, type=_Words).words.items()}
