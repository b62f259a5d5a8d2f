"""Checks that ask each call the same: is it about you, and do you hold? All of them take one pass over the calls."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from msgspec import Struct

from compliance.controls.leaves import ranges
from compliance.controls.result import Finding
from compliance.evidence.model import Evidence, ModelPapers, OpenedCall, PolicyText
from policies.facts import Purpose

__all__ = ["PER_CALL", "SENSITIVE", "Known", "Per", "asked", "known"]

_SPECIAL = frozenset({"health", "genetic", "biometric", "ethnic", "political", "religious", "union", "sex_life"})
SENSITIVE = frozenset({"biometric", "religious", "health", "financial", "location", "minor", "card", "bank_account"})
_ANSWERS = ("infer", "scan", "measure")
_NO_LICENCE = ("", "NONE", "NOASSERTION")
# in effect where a call brings no identity of its own
_NOBODY = ("", "local")


class Known(Struct, frozen=True, kw_only=True):
    """What the evidence says beside the calls, by what a call names."""

    policies: Mapping[str, PolicyText]
    papers: Mapping[str, ModelPapers]
    withdrawn: Mapping[str, int]
    opened: frozenset[str]

    def named(self, one: OpenedCall, pack: str, parameter: str) -> frozenset[str]:
        """The list that a parameter of a pack held when the call was decided."""
        policy = self.policies.get(one.policy)
        value: Any = None if policy is None else policy.parameters.get(pack, {}).get(parameter)
        return frozenset(str(name) for name in value) if isinstance(value, list | tuple) else frozenset()

    def number(self, one: OpenedCall, pack: str, parameter: str) -> int | None:
        policy = self.policies.get(one.policy)
        value: Any = None if policy is None else policy.parameters.get(pack, {}).get(parameter)
        return value if isinstance(value, int) else None

    def packed(self, one: OpenedCall, pack: str) -> bool:
        """Whether a pack was in force when the call was decided."""
        policy = self.policies.get(one.policy)
        return policy is not None and pack in policy.parameters

    def purpose(self, one: OpenedCall) -> Purpose | None:
        """The purpose of a call, as the policy that decided it declared it."""
        policy = self.policies.get(one.policy)
        return None if policy is None or one.call.purpose is None else policy.purposes.get(one.call.purpose)

    def task(self, one: OpenedCall) -> str:
        papers = self.papers.get(one.call.model)
        return "" if papers is None else str(papers.manifest.get("task", ""))


Asked = Callable[[OpenedCall, Known], bool]
Held = Callable[[OpenedCall, Known, int], bool]


class Per(Struct, frozen=True):
    """`about`: whether the check is about a call. `holds`: whether the call is as it should be, given the threshold in
    days of the control."""

    about: Asked
    holds: Held


def known(evidence: Evidence) -> Known:
    return Known(
        policies={one.digest: one for one in evidence.policies},
        papers={one.digest: one for one in evidence.models},
        withdrawn={str(one.data.get("receipt")): one.at for one in evidence.told("consent_withdrawn")},
        opened=frozenset(str(one.data.get("id")) for one in evidence.told("override_opened")),
    )


def asked(evidence: Evidence, wanted: Mapping[str, tuple[str, int]]) -> dict[str, Finding]:
    """The findings of checks, by the keys of `wanted`, which give the name of a check and its threshold in days."""
    beside = known(evidence)
    about: dict[str, list[str]] = {key: [] for key in wanted}
    against: dict[str, list[str]] = {key: [] for key in wanted}
    checks = [(key, PER_CALL[name], days) for key, (name, days) in wanted.items()]
    for one in evidence.calls:
        for key, check, days in checks:
            if check.about(one, beside):
                about[key].append(one.record)
                if not check.holds(one, beside, days):
                    against[key].append(one.record)
    return {key: _found(about[key], against[key]) for key in wanted}


def _found(about: list[str], against: list[str]) -> Finding:
    if not about:
        return Finding(kind="not_applicable")
    out_of = ranges(about)
    if against:
        return Finding(kind="fail", n=len(against), of=len(about), leaves=ranges(against), out_of=out_of)
    return Finding(kind="pass", n=len(about), of=len(about), leaves=out_of, out_of=out_of)


def _all(one: OpenedCall, beside: Known) -> bool:
    return True


def _allowed(one: OpenedCall, beside: Known) -> bool:
    return one.allowed


def _answered(one: OpenedCall, beside: Known) -> bool:
    return one.allowed and one.call.action in _ANSWERS


def _inferred(one: OpenedCall, beside: Known) -> bool:
    return one.allowed and one.call.action == "infer"


def _found_in(one: OpenedCall) -> frozenset[str]:
    return one.call.data | one.call.detected


def _personal(one: OpenedCall, beside: Known) -> bool:
    return _inferred(one, beside) and (bool(_found_in(one)) or one.call.subject is not None)


def _generated(one: OpenedCall, beside: Known) -> bool:
    return _inferred(one, beside) and beside.task(one) == "generate"


def _for(pack: str, parameter: str) -> Asked:
    """Calls that were allowed for a purpose that a parameter of a pack lists."""
    return lambda one, beside: _inferred(one, beside) and one.call.purpose in beside.named(one, pack, parameter)


def _listed(pack: str, parameter: str) -> Held:
    return lambda one, beside, _: one.call.purpose in beside.named(one, pack, parameter)


def _rules_of(pack: str) -> Held:
    return lambda one, _, __: any(rule.startswith(f"{pack}.") for rule in one.rules)


def _obliged(kind: str) -> Held:
    return lambda one, _, __: any(obligation.kind == kind for obligation in one.obligations)


def _kept(one: OpenedCall, beside: Known, days: int) -> bool:
    return one.call.retain_days >= days


def _has_basis(one: OpenedCall, beside: Known, days: int) -> bool:
    purpose = beside.purpose(one)
    return purpose is not None and one.call.basis in purpose.bases


def _consented(one: OpenedCall, beside: Known, days: int) -> bool:
    consented = one.call.consented
    return consented is not None and one.call.at < beside.withdrawn.get(consented.receipt, one.call.at + 1)


def _explicit(one: OpenedCall) -> bool:
    return one.call.consented is not None and one.call.consented.explicit


def _special_held(one: OpenedCall, beside: Known, days: int) -> bool:
    override = one.call.override
    return (
        _explicit(one)
        or one.call.purpose in beside.named(one, "gdpr", "special")
        or (override is not None and override.name in beside.named(one, "gdpr", "overrides"))
    )


def _in_region(pack: str, parameter: str) -> Held:
    return lambda one, beside, _: (
        one.call.host is not None
        and (one.call.host == one.call.region or one.call.host in beside.named(one, pack, parameter))
    )


def _named_actor(one: OpenedCall, beside: Known, days: int) -> bool:
    return one.call.actor not in _NOBODY and one.call.actor not in beside.named(one, "hipaa", "shared")


def _limits(one: OpenedCall, beside: Known) -> list[int]:
    """For how many days the packs in force let records with personal data be kept."""
    found = (beside.number(one, pack, "retain_days") for pack in ("gdpr", "pipl"))
    return [days for days in found if days is not None]


def _own_purposes(one: OpenedCall, beside: Known) -> frozenset[str]:
    papers = beside.papers.get(one.call.model)
    return frozenset() if papers is None else frozenset(papers.manifest.get("purposes", ()))


def _opened_by_two(one: OpenedCall, beside: Known, days: int) -> bool:
    override = one.call.override
    return override is not None and override.id in beside.opened and len(override.approvers) > 1


PER_CALL: Mapping[str, Per] = {
    "outcome": Per(_allowed, lambda one, _, __: one.ended is not None),
    "reasoned": Per(
        lambda one, _: not one.allowed,
        lambda one, _, __: bool(one.against) and all(finding.reason.strip() for finding in one.against),
    ),
    "timed": Per(_all, lambda one, _, __: 0 < one.call.at <= (one.ended_at or one.call.at)),
    "sealed": Per(_all, lambda one, _, __: one.call.sealed),
    "actor": Per(_all, _named_actor),
    "policy_text": Per(_all, lambda one, beside, _: one.policy in beside.policies),
    "purpose": Per(_inferred, lambda one, beside, _: beside.purpose(one) is not None),
    "basis": Per(_personal, _has_basis),
    "consent": Per(lambda one, _: one.allowed and one.call.basis == "consent", _consented),
    "special": Per(lambda one, beside: _inferred(one, beside) and bool(_found_in(one) & _SPECIAL), _special_held),
    "separate": Per(
        lambda one, beside: _inferred(one, beside) and one.call.basis == "consent" and bool(_found_in(one) & SENSITIVE),
        lambda one, _, __: _explicit(one),
    ),
    "necessary": Per(
        lambda one, beside: _inferred(one, beside) and bool(_found_in(one) & SENSITIVE), _listed("pipl", "necessary")
    ),
    "guardian": Per(
        lambda one, _: one.allowed and "minor" in _found_in(one) and one.call.basis == "consent",
        lambda one, _, __: one.call.consented is not None and one.call.consented.guardian,
    ),
    "subject": Per(
        lambda one, beside: _inferred(one, beside) and bool(_found_in(one)),
        lambda one, _, __: one.call.subject is not None,
    ),
    "kept_no_longer": Per(
        lambda one, beside: _personal(one, beside) and bool(_limits(one, beside)),
        lambda one, beside, _: one.call.retain_days <= min(_limits(one, beside)),
    ),
    "region": Per(
        lambda one, beside: _personal(one, beside) and one.call.region is not None, _in_region("gdpr", "regions")
    ),
    "region_cn": Per(
        lambda one, beside: _personal(one, beside) and one.call.region == "CN", _in_region("pipl", "transfers")
    ),
    "pseudonyms": Per(
        lambda one, beside: _for("gdpr", "pseudonymise")(one, beside) and bool(one.call.data), _obliged("pseudonymise")
    ),
    "reviewed": Per(_for("gdpr", "decides"), _listed("gdpr", "reviewed")),
    "explained": Per(_for("pipl", "decides"), _listed("pipl", "explained")),
    "asked_gdpr": Per(_personal, _rules_of("gdpr")),
    "asked_pipl": Per(_personal, _rules_of("pipl")),
    "asked_hipaa": Per(lambda one, beside: _inferred(one, beside) and "health" in _found_in(one), _rules_of("hipaa")),
    "asked_licence": Per(_allowed, _rules_of("licence")),
    "prohibited": Per(
        lambda one, beside: one.call.purpose in beside.named(one, "ai_act", "prohibited"),
        lambda one, _, __: not one.allowed,
    ),
    "assessed": Per(
        lambda one, beside: _inferred(one, beside) and one.call.purpose is not None, _listed("ai_act", "assessed")
    ),
    "overseen": Per(_for("ai_act", "high_risk"), _listed("ai_act", "overseen")),
    "kept_high_risk": Per(_for("ai_act", "high_risk"), _kept),
    "notice": Per(_for("ai_act", "persons"), _obliged("ai_notice")),
    "generated_notice": Per(_generated, _obliged("ai_notice")),
    "kept_generated": Per(_generated, _kept),
    "own_purposes": Per(
        lambda one, beside: _inferred(one, beside) and bool(_own_purposes(one, beside)),
        lambda one, beside, _: one.call.purpose in _own_purposes(one, beside),
    ),
    "papers": Per(_answered, lambda one, beside, _: one.call.model in beside.papers),
    "signer": Per(_answered, lambda one, _, __: one.call.signer is not None),
    "licence_named": Per(_allowed, lambda one, _, __: one.model.get("licence", "") not in _NO_LICENCE),
    "override": Per(lambda one, _: one.allowed and one.call.override is not None, _opened_by_two),
    "metered": Per(
        lambda one, _: one.allowed and one.call.metered is not None,
        lambda one, _, __: one.call.metered is not None and one.call.metered.state == "open",
    ),
}
