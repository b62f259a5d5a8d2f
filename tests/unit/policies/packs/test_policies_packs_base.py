"""Every rule of the base policy has calls that it lets pass and calls that it refuses; no rule can be dropped."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from msgspec.structs import replace

from policies.cedar import Engine, load
from policies.facts import Basis, Call, Manifest, Purpose

PACKS = Path(__file__).resolve().parents[4] / "policies" / "packs"
SCHEMA = (PACKS / "schema.cedarschema").read_bytes()
BASE = (PACKS / "base.cedar").read_text(encoding="utf-8")
BASES: frozenset[Basis] = frozenset({"consent", "contract"})
PURPOSES = {
    "support": Purpose(bases=BASES, retain_days=30),
    "research": Purpose(bases=BASES, commercial=False, retain_days=30),
}
MODEL = Manifest(
    format=1, name="m", version="1", digest="ab" * 32, task="embed", licence="Apache-2.0", inputs=(), outputs=()
)
FREE = replace(MODEL, licence="CC-BY-NC-4.0")
UNKNOWN = replace(MODEL, licence="LicenseRef-other")
CALL = Call(id="c", at=1, actor="ann", tenant="t", action="infer", model=MODEL.digest, purpose="support")
PLAIN = replace(CALL, purpose=None)
EMAIL = replace(CALL, data=frozenset({"email"}))

# rule, model, call: the rule alone refuses
REFUSED = [
    ("default.deny", MODEL, replace(PLAIN, action="export")),
    ("default.deny", MODEL, replace(PLAIN, action="train")),
    ("purpose.stated", MODEL, PLAIN),
    ("purpose.declared", MODEL, replace(CALL, purpose="resale")),
    ("purpose.declared", MODEL, replace(CALL, purpose="resale", action="measure")),
    ("purpose.model", replace(MODEL, purposes=("research",)), CALL),
    ("basis.permitted", MODEL, replace(CALL, basis="public_task")),
    ("basis.permitted", MODEL, replace(PLAIN, action="compress", basis="contract")),
    ("privacy.basis", MODEL, EMAIL),
    ("licence.known", UNKNOWN, replace(PLAIN, action="scan")),
    ("licence.known", UNKNOWN, replace(CALL, purpose="research")),
    ("licence.commercial", FREE, CALL),
]
ALLOWED = [
    (MODEL, CALL),
    (MODEL, replace(CALL, purpose="research")),
    (MODEL, replace(PLAIN, action="scan")),
    (MODEL, replace(PLAIN, action="measure")),
    (MODEL, replace(PLAIN, action="compress")),
    (replace(MODEL, purposes=("support", "research")), CALL),
    (MODEL, replace(CALL, basis="contract")),
    (MODEL, replace(EMAIL, basis="consent")),
    (MODEL, replace(EMAIL, action="scan", purpose=None)),
    (FREE, replace(CALL, purpose="research")),
    (FREE, replace(PLAIN, action="compress")),
    (replace(MODEL, licence="MIT"), CALL),
    (replace(MODEL, purposes=("research",)), replace(PLAIN, action="compress")),
]
RULES = re.findall(r'@id\("([a-z.]+)"\)', BASE)


def base(text: str = BASE) -> Engine:
    return load({"base.cedar": text.encode()}, SCHEMA, PURPOSES)


def without(*rules: str) -> str:
    """The base policy with some rules dropped."""
    parts = re.split(r"(?=@id)", BASE)
    return "".join(part for part in parts if not any(f'@id("{rule}")' in part for rule in rules))


@pytest.mark.parametrize(("model", "call"), ALLOWED)
def test_allowed(model: Manifest, call: Call) -> None:
    decision = base().decide(model, call)
    assert decision.allowed, decision.findings
    assert all(finding.ok for finding in decision.findings)


@pytest.mark.parametrize(("rule", "model", "call"), REFUSED)
def test_refused_with_the_rule(rule: str, model: Manifest, call: Call) -> None:
    decision = base().decide(model, call)
    assert not decision.allowed
    assert rule in [finding.rule for finding in decision.findings if not finding.ok]


def test_derivatives_need_a_licence_that_allows_them() -> None:
    """No licence in the table forbids them yet: an unknown one does not allow them, whatever else is known."""
    findings = {f.rule: f.ok for f in base().decide(UNKNOWN, replace(PLAIN, action="compress")).findings}
    assert findings["licence.derive"] is False
    findings = {f.rule: f.ok for f in base().decide(UNKNOWN, replace(PLAIN, action="train")).findings}
    assert findings["licence.derive"] is False
    findings = {f.rule: f.ok for f in base().decide(FREE, replace(PLAIN, action="compress")).findings}
    assert findings["licence.derive"] is True


def test_licence_derive_stands_alone() -> None:
    """With licence.known dropped, a model of an unknown licence is still not pressed."""
    assert not base(without("licence.known")).decide(UNKNOWN, replace(PLAIN, action="compress")).allowed


@pytest.mark.parametrize("rule", RULES)
def test_no_rule_can_be_dropped(rule: str) -> None:
    """A mutant of the policy: at least one case comes out differently."""
    # alone against an unknown licence, licence.derive is not seen behind licence.known
    others = "licence.known" if rule == "licence.derive" else ""
    own, mutant = base(without(others)), base(without(others, rule))
    cases = [(model, call) for _, model, call in REFUSED] + ALLOWED + [(UNKNOWN, replace(PLAIN, action="compress"))]
    assert [case for case in cases if own.decide(*case).allowed != mutant.decide(*case).allowed]


@pytest.mark.parametrize("bases", [frozenset[Basis](), BASES])
def test_a_reason_reads_as_a_requirement(bases: frozenset[Basis]) -> None:
    own = load({"base.cedar": BASE.encode()}, SCHEMA, {"support": Purpose(bases=bases, retain_days=1)})
    for model, call in ALLOWED:
        for finding in own.decide(model, call).findings:
            assert re.fullmatch(r"[A-Z][^\n]+\.", finding.reason)


def test_no_rule_fails_to_evaluate() -> None:
    """Over all combinations of what may be missing."""
    own = base()
    for model in (MODEL, FREE, UNKNOWN, replace(MODEL, purposes=("research",))):
        for call in (PLAIN, CALL, EMAIL, replace(PLAIN, data=frozenset({"card"})), replace(PLAIN, basis="contract")):
            for action in ("infer", "scan", "measure", "compress", "export", "train"):
                findings = own.decide(model, replace(call, action=action)).findings
                assert findings
                assert not [finding for finding in findings if "could not" in finding.reason]
