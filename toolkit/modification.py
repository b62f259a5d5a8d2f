"""What pressing changed, held against what was declared before there was a result: is it still the same model?

Whoever changes a system that was assessed has to know whether the change was foreseen (Regulation (EU) 2024/1689, Art.
43(4), Annex IV 2(f)). A budget that is given with the command is such a declaration: it is sealed in the record of the
call before anything is run. Its bound on fidelity is held against the whole evaluation and against each slice of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from typing import Literal

from msgspec import UNSET, Struct, UnsetType

__all__ = ["MODIFICATION", "Modification", "Spent"]

MODIFICATION = "modification.json"

Finding = Literal["inside plan", "needs a person"]


class Spent(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What it took to train a model: operations, and seconds of processors over all processes that took part."""

    flops: int
    cpu_s: float


class Modification(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`parent` is the digest of what was pressed, `steps` what was done to it; `declared` the budget as it was given,
    and `fidelity` its bound, none where none was given. `measured` is the lower bound of the fidelity, of all items
    ("all") and of each slice, where it is a number. What is outside of its budget is never handed out, so a finding is
    that it is "inside plan", or that it "needs a person", with the reason. `spent` is there where a step trained."""

    format: Literal[1] = 1
    parent: str
    steps: tuple[str, ...]
    declared: str
    fidelity: float | None
    measured: dict[str, float]
    finding: Finding
    why: str
    spent: Spent | UnsetType = UNSET

    @classmethod
    def of(
        cls,
        parent: str,
        steps: tuple[str, ...],
        declared: str,
        fidelity: float | None,
        measured: Mapping[str, float],
        spent: Spent | UnsetType,
    ) -> Modification:
        """With the finding that follows."""
        below = () if fidelity is None else tuple(name for name, low in measured.items() if not low >= fidelity)
        if fidelity is None:
            why = "no fidelity was declared before it was measured"
        elif below:
            why = f"below the fidelity that was declared: {', '.join(below)}"
        else:
            why = "all items and each slice keep to the fidelity that was declared"
        return cls(
            parent=parent,
            steps=steps,
            declared=declared,
            fidelity=fidelity,
            measured={name: low for name, low in measured.items() if isfinite(low)},
            finding="inside plan" if fidelity is not None and not below else "needs a person",
            why=why,
            spent=spent,
        )
