"""For how long the laws want records kept, at least or at most: data, and what a policy in force fills in."""

from __future__ import annotations

from datetime import date
from functools import cache
from importlib.resources import files
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from compliance.controls.catalogue import Text

__all__ = ["RETENTION", "About", "Retention", "retentions"]

RETENTION = "compliance/duties/retention.toml"

About = Literal["high_risk", "health", "generated", "sensitive_cn", "personal"]
_Filled = Annotated[str, Meta(min_length=1)]


class Retention(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a law asks, by its paragraph: that records be kept for `days` at "least", or at "most".

    `parameter` names the pack and its parameter that holds the days where the law gives no number, or more of them than
    the law asks for. `read` is the day on which the words were read in the `text` that is named; without it they were
    not checked. `yields` is what the text, or its reading, says of a conflict.
    """

    id: _Filled
    name: Text
    at: _Filled
    asks: Literal["least", "most"]
    about: About
    days: Annotated[int, Meta(ge=1)] | None = None
    parameter: Annotated[str, Meta(pattern=r"\A[a-z_]+\.[a-z_]+\Z")] | None = None
    requires: Text
    yields: Text | None = None
    read: date | None = None
    text: str

    def __post_init__(self) -> None:
        if self.days is None and self.parameter is None:
            raise ValueError("a law that asks for no number has a parameter")
        if (self.read is not None) != bool(self.text):
            raise ValueError("what was read has a text, and what has a text was read")

    @property
    def filled(self) -> tuple[str, str] | None:
        """The pack and its parameter."""
        if self.parameter is None:
            return None
        pack, _, name = self.parameter.partition(".")
        return pack, name


class _File(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    format: Literal[1]
    retention: tuple[Retention, ...]


@cache
def retentions() -> tuple[Retention, ...]:
    """All of them, in the order of the file. Raises msgspec.ValidationError."""
    content = files("compliance.duties").joinpath("retention.toml").read_bytes()
    return msgspec.toml.decode(content, type=_File).retention
