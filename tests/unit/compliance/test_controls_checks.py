"""Every check that answers a control: evidence in which it holds, and evidence in which it does not."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec import structs

from compliance.controls.answered import results
from compliance.controls.catalogue import catalogue
from compliance.controls.leaves import ranges
from compliance.controls.over_all import OVER_ALL
from compliance.controls.per_call import PER_CALL, asked
from compliance.controls.result import Finding
from compliance.evidence.model import DayKey, Evidence, OpenedCall, PolicyText, Trial, Unread
from compliance.verify.statements import key_text
from policies.facts import Consented, Metered, Obligation, Outcome, Override, Purpose
from tests.evidences import POLICY, a_call, evidence, told
from tests.forge import FIRST_DAY, signer

FORMAT_DAYS = 184


def call(allowed: bool = True, outside: dict[str, Any] | None = None, **changes: Any) -> OpenedCall:
    """A call at shard-000/1; `changes` are fields of Call, `outside` fields of OpenedCall."""
    return structs.replace(a_call(1, allowed=allowed, **changes), **(outside or {}))


def given(
    *calls: OpenedCall, pack: str = "", notes: Any = (), manifest: dict[str, Any] | None = None, **lists: Any
) -> Evidence:
    """Evidence with these calls, and parameters of a pack."""
    purposes = {"search": Purpose(bases=frozenset({"consent", "contract"}), retain_days=180)}
    policy = PolicyText(digest=POLICY, texts={}, purposes=purposes, parameters={pack: lists} if pack else {})
    found = evidence(calls=calls, policies=(policy,), notes=notes)
    [papers] = found.models
    if manifest is not None:
        papers = structs.replace(papers, manifest={**papers.manifest, **manifest})
    return structs.replace(found, models=(papers,))


def with_models(**manifest: Any) -> Evidence:
    return given(a_call(1), manifest=manifest)


HEALTH: dict[str, Any] = {"data": frozenset({"health"})}
EXPLICIT = Consented(receipt="r", explicit=True, guardian=True)
PLAIN = Consented(receipt="r")
NOTICE = {"obligations": (Obligation(kind="ai_notice", text="It is one."),)}
OPENED = told(0, "override_opened", id="o1")
OVERRIDE = Override(id="o1", name="emergency", approvers=frozenset({"a", "b"}))
PARENT = {"name": "p", "digest": "aa" * 32, "licence": "MIT", "relation": "parent"}
PROOF = Trial(kind="policy_proof", about=POLICY, data={})
LISTED: dict[str, Any] = {"pack": "ai_act", "high_risk": ["search"]}

# the name of a check, evidence in which it holds, and evidence in which it does not
CASES: list[tuple[str, Evidence, Evidence]] = [
    ("outcome", given(call()), given(call(outside={"ended": None, "outcome": None}))),
    ("reasoned", given(call(allowed=False)), given(call(allowed=False, outside={"against": ()}))),
    ("timed", given(call()), given(call(outside={"ended_at": 1}))),
    ("sealed", given(call(sealed=True)), given(call())),
    ("actor", given(call()), given(call(actor="local"))),
    ("policy_text", given(call()), given(call(outside={"policy": "00" * 32}))),
    ("purpose", given(call()), given(call(purpose="other"))),
    ("basis", given(call(**HEALTH, basis="consent")), given(call(**HEALTH, basis="public_task"))),
    (
        "consent",
        given(call(basis="consent", consented=PLAIN)),
        given(call(basis="consent", consented=PLAIN), notes=(told(0, "consent_withdrawn", receipt="r"),)),
    ),
    ("special", given(call(**HEALTH, consented=EXPLICIT)), given(call(**HEALTH, consented=PLAIN))),
    (
        "separate",
        given(call(**HEALTH, basis="consent", consented=EXPLICIT)),
        given(call(**HEALTH, basis="consent", consented=PLAIN)),
    ),
    ("necessary", given(call(**HEALTH), pack="pipl", necessary=["search"]), given(call(**HEALTH))),
    (
        "guardian",
        given(call(data=frozenset({"minor"}), basis="consent", consented=EXPLICIT)),
        given(call(data=frozenset({"minor"}), basis="consent", consented=PLAIN)),
    ),
    ("subject", given(call(**HEALTH, subject="s1")), given(call(**HEALTH))),
    (
        "kept_no_longer",
        given(call(**HEALTH, retain_days=30), pack="gdpr", retain_days=30),
        given(call(**HEALTH, retain_days=31), pack="pipl", retain_days=30),
    ),
    (
        "region",
        given(call(**HEALTH, region="DE", host="FR"), pack="gdpr", regions=["FR"]),
        given(call(**HEALTH, region="DE", host="FR")),
    ),
    (
        "region_cn",
        given(call(**HEALTH, region="CN", host="CN")),
        given(call(**HEALTH, region="CN", host="US"), pack="pipl", transfers=["SG"]),
    ),
    (
        "pseudonyms",
        given(
            call(**HEALTH, outside={"obligations": (Obligation(kind="pseudonymise"),)}),
            pack="gdpr",
            pseudonymise=["search"],
        ),
        given(call(**HEALTH), pack="gdpr", pseudonymise=["search"]),
    ),
    (
        "reviewed",
        given(call(), pack="gdpr", decides=["search"], reviewed=["search"]),
        given(call(), pack="gdpr", decides=["search"], reviewed=[]),
    ),
    (
        "explained",
        given(call(), pack="pipl", decides=["search"], explained=["search"]),
        given(call(), pack="pipl", decides=["search"]),
    ),
    ("asked_gdpr", given(call(**HEALTH, outside={"rules": ("gdpr.special",)})), given(call(**HEALTH))),
    ("asked_pipl", given(call(**HEALTH, outside={"rules": ("pipl.basis",)})), given(call(**HEALTH))),
    ("asked_hipaa", given(call(**HEALTH, outside={"rules": ("hipaa.use",)})), given(call(**HEALTH))),
    ("asked_licence", given(call(outside={"rules": ("licence.scope",)})), given(call())),
    (
        "prohibited",
        given(call(allowed=False, purpose="score"), pack="ai_act", prohibited=["score"]),
        given(call(purpose="score"), pack="ai_act", prohibited=["score"]),
    ),
    ("assessed", given(call(), pack="ai_act", assessed=["search"]), given(call())),
    ("overseen", given(call(), **LISTED, overseen=["search"]), given(call(), **LISTED)),
    ("kept_high_risk", given(call(retain_days=184), **LISTED), given(call(retain_days=183), **LISTED)),
    (
        "notice",
        given(call(outside=NOTICE), pack="ai_act", persons=["search"]),
        given(call(), pack="ai_act", persons=["search"]),
    ),
    (
        "generated_notice",
        given(call(outside=NOTICE), manifest={"task": "generate"}),
        given(call(), manifest={"task": "generate"}),
    ),
    (
        "kept_generated",
        given(call(retain_days=184), manifest={"task": "generate"}),
        given(call(retain_days=183), manifest={"task": "generate"}),
    ),
    (
        "own_purposes",
        given(call(), manifest={"purposes": ["search"]}),
        given(call(), manifest={"purposes": ["triage"]}),
    ),
    ("papers", given(call()), given(call(model="99" * 32))),
    ("signer", given(call(signer="ed25519:x")), given(call())),
    ("licence_named", given(call()), given(call(outside={"model": {"licence": "NOASSERTION"}}))),
    ("override", given(call(override=OVERRIDE), notes=(OPENED,)), given(call(override=OVERRIDE))),
    ("metered", given(call(metered=Metered(state="open"))), given(call(metered=Metered(state="spent")))),
    ("counted", evidence(), structs.replace(evidence(), calls=(a_call(1),))),
    ("unbroken", evidence(), evidence(gaps=1)),
    ("witnessed", evidence(), evidence(witnessed=False)),
    (
        "readable",
        evidence(unread=(Unread(why="erased", noted=1),)),
        evidence(unread=(Unread(why="other_auditor", noted=1),)),
    ),
    (
        "keys",
        evidence(),
        evidence(keys=(DayKey(key=key_text(signer("day").public), day=FIRST_DAY, revoked=5),)),
    ),
    ("auditors", evidence(), evidence(auditors=())),
    (
        "proved",
        evidence(tests=(PROOF,)),
        evidence(tests=(PROOF,), calls=(a_call(1), call(outside={"policy": "00" * 32, "record": "shard-000/3"}))),
    ),
    ("measured", evidence(), evidence(tests=())),
    ("lineage", with_models(lineage=[PARENT]), with_models(lineage=[{**PARENT, "licence": ""}])),
    ("recipe", with_models(lineage=[PARENT], recipe=[{"kind": "int8"}]), with_models(lineage=[PARENT], recipe=[])),
    ("erasures", evidence(notes=(told(2, "erased", rows=1),)), evidence(unread=(Unread(why="erased", allowed=1),))),
    ("reads", evidence(notes=(told(2, "read", auditor="ab"),)), evidence(notes=(told(2, "read"),))),
    ("policy_stands", evidence(notes=(told(2, "policy_changed"),)), evidence(notes=(told(2, "policy_refused"),))),
    ("succeeded", evidence(), evidence(calls=(a_call(1, outcome=Outcome(ok=False, code="model_failed")),))),
]  # fmt: skip


def found(name: str, of: Evidence) -> Finding:
    if name in PER_CALL:
        return asked(of, {"it": (name, FORMAT_DAYS)})["it"]
    return OVER_ALL[name](of)


def test_there_is_a_case_for_every_check() -> None:
    assert [name for name, _, _ in CASES] == [*PER_CALL, *OVER_ALL]


@pytest.mark.parametrize(("name", "good", "bad"), CASES, ids=[name for name, _, _ in CASES])
def test_a_check_passes_and_fails(name: str, good: Evidence, bad: Evidence) -> None:
    holds, fails = found(name, good), found(name, bad)
    assert holds.kind == "pass"
    assert holds.n == holds.of > 0
    # that calls failed is for a person to judge
    assert fails.kind == ("needs_person" if name == "succeeded" else "fail")
    assert name in {"keys", "auditors"} or fails.n > 0
    if name not in {"keys", "auditors"}:
        assert fails.leaves
        assert holds.leaves


@pytest.mark.parametrize("name", sorted(PER_CALL))
def test_a_check_about_no_call_does_not_apply(name: str) -> None:
    assert found(name, evidence(calls=())) == Finding(kind="not_applicable")


@pytest.mark.parametrize("name", ["counted", "proved", "measured", "lineage", "recipe", "succeeded"])
def test_what_nothing_shows_was_not_measured(name: str) -> None:
    assert found(name, evidence(calls=(), models=(), tests=())).kind == "not_measured"


def test_what_is_against_a_check_is_named_by_its_leaves() -> None:
    calls = tuple(a_call(n, sealed=n != 5) for n in (1, 3, 5))
    assert found("sealed", evidence(calls=calls)) == Finding(
        kind="fail", n=1, of=3, leaves=("shard-000/5",), out_of=("shard-000/1", "shard-000/3", "shard-000/5")
    )


def test_consent_counts_until_it_is_withdrawn() -> None:
    before = given(call(basis="consent", consented=PLAIN), notes=(told(60, "consent_withdrawn", receipt="r"),))
    assert found("consent", before).kind == "pass"


def test_an_override_counts_for_what_it_opens_only() -> None:
    under = call(**HEALTH, override=OVERRIDE)
    assert found("special", given(under, pack="gdpr", overrides=["emergency"])).kind == "pass"
    assert found("special", given(under, pack="gdpr", overrides=["other"])).kind == "fail"
    assert found("special", given(call(**HEALTH), pack="gdpr", special=["search"])).kind == "pass"


def test_every_control_has_one_result_in_order() -> None:
    controls = catalogue().of("all")
    made = results(evidence(), controls)
    assert [one.control for one in made] == [one.id for one in controls]
    by_id = {one.control: one for one in made}
    assert by_id["ai-act-literacy"].found == Finding(kind="needs_person")
    assert by_id["hipaa-audit"].found.kind == "pass"
    assert by_id["hipaa-encryption"].found.kind == "fail"
    assert by_id["ai-act-told"].applies == catalogue().control("ai-act-told").applies


def test_leaves_are_written_as_the_fewest_ranges() -> None:
    records = ["shard-001/0", "shard-000/5", "shard-000/4", "shard-000/6", "shard-000/9", "shard-000/4"]
    assert ranges(records) == ("shard-000/4-6", "shard-000/9", "shard-001/0")
    assert ranges([]) == ()
