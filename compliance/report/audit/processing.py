"""The record of processing (GDPR Art. 30(1)) by purpose: what settings declare against what the leaves show.

Declared is what the policy says that decided a call. Observed are calls that were allowed to run a model for somebody.
Where two laws disagree on how long records may be kept (report/audit/retained.py), that is a difference, too.
"""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct

from compliance.controls.per_call import Known, known
from compliance.evidence.model import Evidence, OpenedCall
from compliance.report.audit.figures import Figure, figure
from compliance.report.audit.retained import disagreeing

__all__ = ["Difference", "Processing", "processing"]


class Difference(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`kind` is a key of words.toml, `value` what it is about, `calls` how many calls show it."""

    kind: str
    value: str
    calls: Figure


class Processing(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One purpose. What is declared is empty where the policy does not know it; `retain_days` says how long records are
    kept."""

    purpose: str
    declared: bool
    bases: tuple[str, ...]
    data: tuple[str, ...]
    recipients: tuple[str, ...]
    retain_days: int | None
    observed: Figure
    observed_bases: tuple[str, ...]
    observed_data: tuple[str, ...]
    observed_regions: tuple[str, ...]
    differences: tuple[Difference, ...]


class _Seen:
    """The calls of one purpose; `last` is the latest of them."""

    def __init__(self, last: OpenedCall) -> None:
        self.last = last
        self.records: list[str] = []
        self.bases: set[str] = set()
        self.data: set[str] = set()
        self.regions: set[str] = set()
        self.different: dict[tuple[str, str], list[str]] = {}


def processing(evidence: Evidence) -> tuple[Processing, ...]:
    """Every purpose that was observed, and those that the policy of the last call declares and nobody used."""
    beside, seen = known(evidence), dict[str, _Seen]()
    latest: OpenedCall | None = None
    for one in evidence.calls:
        if latest is None or one.call.at >= latest.call.at:
            latest = one
        if one.allowed and one.call.action == "infer":
            of = seen.setdefault(one.call.purpose or "", _Seen(one))
            _take(of, one, beside)
    policy = None if latest is None else beside.policies.get(latest.policy)
    unused = [] if policy is None else sorted(set(policy.purposes) - set(seen))
    return (
        *(_observed(name, of, beside) for name, of in sorted(seen.items())),
        *(_unused(name, beside, latest) for name in unused if latest is not None),
    )


def _take(of: _Seen, one: OpenedCall, beside: Known) -> None:
    call = one.call
    if call.at >= of.last.call.at:
        of.last = one
    of.records.append(one.record)
    of.data |= call.data | call.detected
    of.bases |= {call.basis} if call.basis else set()
    of.regions |= {region for region in (call.region, call.host) if region}
    for difference in _different(one, beside):
        of.different.setdefault(difference, []).append(one.record)


def _different(one: OpenedCall, beside: Known) -> Iterator[tuple[str, str]]:
    call, declared = one.call, beside.purpose(one)
    if declared is None:
        yield "undeclared_purpose", ""
        return
    if call.basis is not None and call.basis not in declared.bases:
        yield "undeclared_basis", call.basis
    for category in sorted((call.data | call.detected) - declared.data):
        yield "undeclared_data", category
    if call.retain_days > declared.retain_days:
        yield "kept_longer", f"{call.retain_days} > {declared.retain_days}"
    if call.region and call.host and call.region != call.host:
        yield "transferred", f"{call.region} → {call.host}"
    if any(disagreeing(one, beside)):
        yield "laws_disagree", ""


def _observed(name: str, of: _Seen, beside: Known) -> Processing:
    declared = beside.purpose(of.last)
    return Processing(
        purpose=name,
        declared=declared is not None,
        bases=() if declared is None else tuple(sorted(declared.bases)),
        data=() if declared is None else tuple(sorted(declared.data)),
        recipients=() if declared is None else declared.recipients,
        retain_days=None if declared is None else declared.retain_days,
        observed=figure(f"processing.{name}", of.records),
        observed_bases=tuple(sorted(of.bases)),
        observed_data=tuple(sorted(of.data)),
        observed_regions=tuple(sorted(of.regions)),
        differences=tuple(
            Difference(kind=kind, value=value, calls=figure(f"processing.{name}.{kind}.{value}", records))
            for (kind, value), records in sorted(of.different.items())
        ),
    )


def _unused(name: str, beside: Known, latest: OpenedCall) -> Processing:
    declared = beside.policies[latest.policy].purposes[name]
    return Processing(
        purpose=name,
        declared=True,
        bases=tuple(sorted(declared.bases)),
        data=tuple(sorted(declared.data)),
        recipients=declared.recipients,
        retain_days=declared.retain_days,
        observed=figure(f"processing.{name}", []),
        observed_bases=(),
        observed_data=(),
        observed_regions=(),
        differences=(),
    )
