"""Checks that look at the evidence as a whole: its counters, heads, keys, models and notes."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from compliance.controls.leaves import Leaves, ranges
from compliance.controls.result import Finding
from compliance.evidence.model import Evidence, ModelPapers, Told

__all__ = ["OVER_ALL"]

_NO_LICENCE = ("", "NONE", "NOASSERTION")
_READS = ("read", "released", "exported", "export")


def spanned(evidence: Evidence) -> Leaves:
    """All leaves of the period."""
    return tuple(
        f"{one.shard}/{one.first.size}-{one.last.size - 1}" for one in evidence.spans if one.last.size > one.first.size
    )


def _counted(evidence: Evidence) -> Finding:
    """The signed counters are the calls that were opened, and those that are sealed still."""
    signed = sum(one.last.allowed + one.last.refused - one.first.allowed - one.first.refused for one in evidence.spans)
    found = len(evidence.calls) + sum(one.allowed + one.refused for one in evidence.unread)
    if not signed and not found:
        return Finding(kind="not_measured")
    leaves = spanned(evidence)
    if signed != found:
        return Finding(kind="fail", n=abs(signed - found), of=signed, leaves=leaves, out_of=leaves)
    return Finding(kind="pass", n=found, of=signed, leaves=leaves, out_of=leaves)


def _unbroken(evidence: Evidence) -> Finding:
    leaves = spanned(evidence)
    if evidence.gaps:
        return Finding(kind="fail", n=evidence.gaps, of=evidence.gaps, leaves=leaves, out_of=leaves)
    return _all_records(evidence, leaves)


def _witnessed(evidence: Evidence) -> Finding:
    leaves = spanned(evidence)
    if not evidence.witnessed:
        of = sum(one.records for one in evidence.spans)
        return Finding(kind="fail", n=of, of=of, leaves=leaves, out_of=leaves)
    return _all_records(evidence, leaves)


def _all_records(evidence: Evidence, leaves: Leaves) -> Finding:
    of = sum(one.records for one in evidence.spans)
    return Finding(kind="pass" if of else "not_measured", n=of, of=of, leaves=leaves, out_of=leaves)


def _readable(evidence: Evidence) -> Finding:
    """Every record can be read with this key, but for what was erased."""
    sealed = sum(one.records for one in evidence.unread if one.why != "erased")
    of = sum(one.records for one in evidence.spans)
    leaves = spanned(evidence)
    if sealed:
        return Finding(kind="fail", n=sealed, of=of, leaves=leaves, out_of=leaves)
    return _all_records(evidence, leaves)


def _keys(evidence: Evidence) -> Finding:
    revoked = sum(one.revoked is not None for one in evidence.keys)
    if not evidence.keys:
        return Finding(kind="not_measured")
    if revoked:
        return Finding(kind="fail", n=revoked, of=len(evidence.keys))
    return Finding(kind="pass", n=len(evidence.keys), of=len(evidence.keys))


def _auditors(evidence: Evidence) -> Finding:
    n = len(evidence.auditors)
    return Finding(kind="pass" if n else "fail", n=n, of=n)


def _proved(evidence: Evidence) -> Finding:
    """Every policy that decided has a proof of its claims."""
    proofs = {one.about for one in evidence.tests if one.kind == "policy_proof"}
    calls: dict[str, list[str]] = {}
    for one in evidence.calls:
        calls.setdefault(one.policy, []).append(one.record)
    if not calls or not proofs:
        return Finding(kind="not_measured")
    bare = {digest for digest in calls if digest not in proofs}
    every = ranges(record for records in calls.values() for record in records)
    if bare:
        leaves = ranges(record for digest in bare for record in calls[digest])
        return Finding(kind="fail", n=len(bare), of=len(calls), leaves=leaves, out_of=every)
    return Finding(kind="pass", n=len(calls), of=len(calls), leaves=every, out_of=every)


def _models(evidence: Evidence, holds: Callable[[ModelPapers], bool]) -> Finding:
    """A check of each model that answered and has papers."""
    answered = {one.call.model for one in evidence.calls if one.allowed}
    models = [one for one in evidence.models if one.digest in answered]
    if not models:
        return Finding(kind="not_measured")
    bare = [one for one in models if not holds(one)]
    every = ranges(one.record for one in models)
    if bare:
        leaves = ranges(one.record for one in bare)
        return Finding(kind="fail", n=len(bare), of=len(models), leaves=leaves, out_of=every)
    return Finding(kind="pass", n=len(models), of=len(models), leaves=every, out_of=every)


def _measured(evidence: Evidence) -> Finding:
    tested = {one.about for one in evidence.tests if one.kind == "measurement"}
    return _models(evidence, lambda one: one.digest in tested)


def _lineage(evidence: Evidence) -> Finding:
    def named(papers: ModelPapers) -> bool:
        lineage = papers.manifest.get("lineage", ())
        return all(isinstance(one, dict) and one.get("licence", "") not in _NO_LICENCE for one in lineage)

    return _models(evidence, named)


def _recipe(evidence: Evidence) -> Finding:
    """A model with a parent says by what recipe it was made from it."""
    return _models(evidence, lambda one: not one.manifest.get("lineage") or bool(one.manifest.get("recipe")))


def _told(notes: tuple[Told, ...]) -> Finding:
    if not notes:
        return Finding(kind="not_applicable")
    leaves = ranges(one.record for one in notes)
    return Finding(kind="pass", n=len(notes), of=len(notes), leaves=leaves, out_of=leaves)


def _erasures(evidence: Evidence) -> Finding:
    """Records that nobody can read any more were erased on record: for a subject, or since their time was over."""
    notes = evidence.erasures
    gone = sum(one.records for one in evidence.unread if one.why == "erased")
    if gone and not notes:
        leaves = spanned(evidence)
        return Finding(kind="fail", n=gone, of=gone, leaves=leaves, out_of=leaves)
    return _told(notes)


def _reads(evidence: Evidence) -> Finding:
    """Every look into sealed records says whose key opened them."""
    notes = evidence.told(*_READS)
    bare = [one for one in notes if not one.data.get("auditor")]
    if bare:
        return Finding(
            kind="fail",
            n=len(bare),
            of=len(notes),
            leaves=ranges(one.record for one in bare),
            out_of=ranges(one.record for one in notes),
        )
    return _told(notes)


def _policy_stands(evidence: Evidence) -> Finding:
    """No change of the policy was refused for a fault in it."""
    broken = evidence.told("policy_refused")
    changed = evidence.told("policy_changed")
    every = ranges(one.record for one in (*broken, *changed))
    of = len(broken) + len(changed)
    if broken:
        return Finding(kind="fail", n=len(broken), of=of, leaves=ranges(one.record for one in broken), out_of=every)
    return _told(changed)


def _succeeded(evidence: Evidence) -> Finding:
    """Calls that ran ended well. That some failed is for a person to judge: the law has no number for it."""
    ended = [one for one in evidence.calls if one.outcome is not None]
    failed = [one for one in ended if one.outcome is not None and not one.outcome.ok]
    if not ended:
        return Finding(kind="not_measured")
    every = ranges(one.record for one in ended)
    if failed:
        leaves = ranges(one.record for one in failed)
        return Finding(kind="needs_person", n=len(failed), of=len(ended), leaves=leaves, out_of=every)
    return Finding(kind="pass", n=len(ended), of=len(ended), leaves=every, out_of=every)


OVER_ALL: Mapping[str, Callable[[Evidence], Finding]] = {
    "counted": _counted,
    "unbroken": _unbroken,
    "witnessed": _witnessed,
    "readable": _readable,
    "keys": _keys,
    "auditors": _auditors,
    "proved": _proved,
    "measured": _measured,
    "lineage": _lineage,
    "recipe": _recipe,
    "erasures": _erasures,
    "reads": _reads,
    "policy_stands": _policy_stands,
    "succeeded": _succeeded,
}
