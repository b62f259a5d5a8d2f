"""What usage grants allow against what the signed heads count under them (heads count by ID/UNIT, docs/formats.md)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from compliance.controls.leaves import Leaves, ranges
from compliance.controls.over_all import spanned
from compliance.evidence.model import Evidence, UsageGrant
from compliance.report.audit.figures import Figure, Row, Table

__all__ = ["quota"]

# what terms limit, the unit that heads count it in, and how many of these make one
_UNITS = {"calls": ("calls", 1), "tokens": ("tokens", 1), "cpu_s": ("cpu_us", 1_000_000)}


def quota(evidence: Evidence) -> Table:
    """A row for each limit of each grant of the period: what it allows, and what was used of it, in the period and so
    far. Use is counted up to the last heads of the period."""
    before, now = _counted(evidence, last=False), _counted(evidence, last=True)
    rows = tuple(
        row
        for grant in sorted(evidence.grants, key=lambda one: one.terms.id)
        for unit in _UNITS
        if (row := _row(evidence, grant, unit, before, now)) is not None
    )
    return Table(
        id="quota",
        title="quota",
        column="quota_column",
        heads=("quota_allowed", "quota_used", "quota_ever"),
        rows=rows,
    )


def _row(
    evidence: Evidence, grant: UsageGrant, unit: str, before: Mapping[str, int], now: Mapping[str, int]
) -> Row | None:
    limit = getattr(grant.terms, unit)
    if limit is None:
        return None
    counted, one = _UNITS[unit]
    name = f"{grant.terms.id}/{counted}"
    ever = now.get(name, 0)
    values = {"allowed": limit, "used": _in(ever - before.get(name, 0), one), "ever": _in(ever, one)}
    leaves: dict[str, Leaves] = {"allowed": (), "used": spanned(evidence), "ever": _heads(evidence)}
    figures = tuple(
        Figure(id=f"quota.{grant.terms.id}.{unit}.{key}", value=value, leaves=leaves[key])
        for key, value in values.items()
    )
    return Row(name=f"{grant.terms.holder}: {unit}", figures=figures, note=grant.terms.id)


def _counted(evidence: Evidence, *, last: bool) -> Counter[str]:
    """What the heads at one end of the period count, over all shards."""
    found: Counter[str] = Counter()
    for span in evidence.spans:
        found.update((span.last if last else span.first).usage)
    return found


def _heads(evidence: Evidence) -> Leaves:
    return ranges(f"{one.shard}/{one.last.size - 1}" for one in evidence.spans if one.last.size)


def _in(counted: int, one: int) -> int | float:
    return counted if one == 1 else counted / one
