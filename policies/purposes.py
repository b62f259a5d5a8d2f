"""What an edit of the purposes in the settings widens and what it narrows, fact by fact.

The rules are compared over all calls by policies.cedar.proof, for which every purpose may be declared in every way; how
they are declared is compared here.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Literal

from msgspec import UNSET, Struct

from policies.facts import Purpose

__all__ = ["PurposeChange", "changes"]


class PurposeChange(Struct, frozen=True, kw_only=True):
    """One fact of a purpose, whether its change lets more or less be done, and how it reads for a person."""

    purpose: str
    fact: str
    way: Literal["widened", "narrowed"]
    says: str


def changes(old: Mapping[str, Purpose], new: Mapping[str, Purpose]) -> list[PurposeChange]:
    """Every change, in the order of the names of the purposes."""
    return [change for name in sorted({*old, *new}) for change in _of(name, old.get(name), new.get(name))]


def _of(name: str, old: Purpose | None, new: Purpose | None) -> Iterator[PurposeChange]:
    def change(fact: str, wider: bool, says: str) -> PurposeChange:
        return PurposeChange(purpose=name, fact=fact, way="widened" if wider else "narrowed", says=f"{name}: {says}")

    if old is None or new is None:
        yield change("declared", old is None, "it is declared now" if old is None else "it is declared no more")
        return
    for basis, added in _differing(old.bases, new.bases):
        yield change("bases", added, f"the basis {basis} is {'permitted now' if added else 'permitted no more'}")
    if old.commercial != new.commercial:
        # only what is not commercial may use a model whose licence says so
        yield change(
            "commercial", old.commercial, f"it counts as {'commercial' if new.commercial else 'not commercial'}"
        )
    if old.retain_days != new.retain_days:
        says = f"records are kept for {new.retain_days} days instead of {old.retain_days}"
        yield change("retain_days", new.retain_days > old.retain_days, says)
    for recipient, added in _differing(old.recipients, new.recipients):
        yield change("recipients", added, f"answers are {'passed on' if added else 'passed on no more'} to {recipient}")
    for category, added in _differing(old.data, new.data):
        # what a call is taken to carry, rules can refuse
        says = f"its calls {'are taken' if added else 'are taken no more'} to carry {category}"
        yield change("data", not added, says)
    if (old.uses is UNSET) != (new.uses is UNSET):
        says = "its uses are not said any more" if new.uses is UNSET else "its uses are said now"
        yield change("uses", new.uses is not UNSET, says)
    for use, added in _differing(old.uses or (), new.uses or ()):
        # what is forbidden is refused, and what is for research alone is allowed by it
        says = f"it {'is' if added else 'is no more'} a use for {use}"
        yield change("uses", added is (use == "research"), says)


def _differing(old: Collection[str], new: Collection[str]) -> Iterator[tuple[str, bool]]:
    """What stands in one of them only, and whether that is the new one."""
    for one in sorted({*old} ^ {*new}):
        yield one, one in new
