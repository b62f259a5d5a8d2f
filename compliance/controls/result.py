"""How a control came out."""

from __future__ import annotations

from datetime import date
from typing import Literal

from msgspec import Struct

from compliance.controls.leaves import Leaves

__all__ = ["KINDS", "Finding", "Kind", "Result"]

Kind = Literal["fail", "needs_person", "not_measured", "pass", "not_applicable"]
# in the order in which a reader needs them
KINDS: tuple[Kind, ...] = ("fail", "needs_person", "not_measured", "pass", "not_applicable")


class Finding(Struct, frozen=True, kw_only=True):
    """What a check found: `n` of `of` (calls, models, records) are against it, or hold where it passes.

    `leaves` are what `n` stands on, `out_of` what `of` does.
    """

    kind: Kind
    n: int = 0
    of: int = 0
    leaves: Leaves = ()
    out_of: Leaves = ()


class Result(Struct, frozen=True, kw_only=True):
    """The result of one control. `answered` is the id of a person's answer that settled it."""

    control: str
    applies: date | None
    found: Finding
    answered: str | None = None
