"""Every control of a profile, answered from evidence."""

from __future__ import annotations

from collections.abc import Iterable

from compliance.controls.catalogue import Control
from compliance.controls.over_all import OVER_ALL
from compliance.controls.per_call import PER_CALL, asked
from compliance.controls.result import Finding, Result
from compliance.evidence.model import Evidence

__all__ = ["results"]


def results(evidence: Evidence, controls: Iterable[Control]) -> tuple[Result, ...]:
    """One result for each control, in their order. It takes one pass over the calls for the checks that ask each."""
    every = tuple(controls)
    wanted = {one.id: (one.check, one.days or 0) for one in every if one.check in PER_CALL and one.check is not None}
    per_call = asked(evidence, wanted)
    return tuple(Result(control=one.id, applies=one.applies, found=_found(evidence, one, per_call)) for one in every)


def _found(evidence: Evidence, control: Control, per_call: dict[str, Finding]) -> Finding:
    if control.check is None:
        return Finding(kind="needs_person")
    if control.id in per_call:
        return per_call[control.id]
    return OVER_ALL[control.check](evidence)
