"""Allowed only if Cedar says Allow and no rule failed; every rule that is about the call answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cedarpy
import pytest
from msgspec.structs import replace

from policies.cedar import Engine, PolicyError, load, reloaded, schema
from policies.cedar.compiler import Program
from policies.facts import Call, Consented, Decision, Manifest, Purpose, Sanitised
from toolkit.policy import schema_text

SCHEMA = schema(schema_text(), [])
ALLOW = '@id("a.allow") @reason("Everything is allowed here.") permit (principal, action, resource);'
PURPOSE = Purpose(bases=frozenset({"contract"}), retain_days=30, recipients=("lab",))
MODEL = Manifest(format=1, name="m", version="1", digest="ab" * 32, task="embed", licence="MIT", inputs=(), outputs=())
CALL = Call(id="c", at=1, actor="ann", tenant="t", action="infer", model=MODEL.digest)


def forbid(condition: str, id_: str = "a.forbid", head: str = "principal, action, resource") -> str:
    return f'@id("{id_}") @reason("This is forbidden here.") forbid ({head}) when {{ {condition} }};'


def policy(*rules: str) -> Engine:
    return load({"own.cedar": "\n".join(rules).encode()}, SCHEMA, {"support": PURPOSE})


def answers(decision: Decision) -> dict[str, bool]:
    return {finding.rule: finding.ok for finding in decision.findings}


def test_every_rule_answers() -> None:
    decision = policy(ALLOW, forbid("context.usage > 5"), forbid("context.usage > 9", "b.forbid")).decide(MODEL, CALL)
    assert decision.allowed
    assert answers(decision) == {"a.allow": True, "a.forbid": True, "b.forbid": True}


def test_a_forbid_refuses_and_the_rest_still_answers() -> None:
    own = policy(ALLOW, forbid("context.usage > 5"), forbid("context.usage > 9", "b.forbid"))
    decision = own.decide(MODEL, replace(CALL, usage=7))
    assert not decision.allowed
    assert answers(decision) == {"a.allow": True, "a.forbid": False, "b.forbid": True}
    assert decision.findings[1].reason == "This is forbidden here."


def test_the_default_is_deny() -> None:
    only_scan = ALLOW.replace("action,", 'action == Action::"scan",')
    decision = policy(only_scan, forbid("context.usage > 5")).decide(MODEL, CALL)
    assert not decision.allowed
    assert answers(decision) == {"a.forbid": True, "default.deny": False}


def test_a_permit_that_did_not_match_is_not_ok() -> None:
    decision = policy(ALLOW[:-1] + " when { context.usage > 5 };").decide(MODEL, CALL)
    assert not decision.allowed
    assert answers(decision) == {"a.allow": False, "default.deny": False}


def test_a_forbid_that_fails_to_evaluate_refuses() -> None:
    """Cedar by itself skips the rule and allows: that this still is so is a part of the test."""
    rules = ALLOW + forbid("context.usage + 9223372036854775807 > 0")
    request = {
        "principal": {"type": "Actor", "id": "ann"},
        "action": {"type": "Action", "id": "infer"},
        "resource": {"type": "Model", "id": "m"},
        "context": {"usage": 1},
    }
    assert cedarpy.is_authorized(request, rules, []).allowed
    decision = policy(rules).decide(MODEL, replace(CALL, usage=1))
    assert not decision.allowed
    assert answers(decision) == {"a.allow": True, "a.forbid": False}
    assert decision.findings[1].reason.startswith("The rule could not be evaluated (integer overflow)")
    assert "9223372036854775807" not in decision.findings[1].reason


def test_a_permit_that_fails_to_evaluate_refuses_though_another_one_matches() -> None:
    failing = ALLOW.replace("a.allow", "b.allow")[:-1] + " when { context.usage + 9223372036854775807 > 0 };"
    decision = policy(ALLOW, failing).decide(MODEL, replace(CALL, usage=1))
    assert not decision.allowed
    assert answers(decision) == {"a.allow": True, "b.allow": False}


@pytest.mark.parametrize(
    "call",
    [
        replace(CALL, action="launch"),
        replace(CALL, usage=2**63),
        replace(CALL, at=-(2**63) - 1),
        replace(CALL, actor="\ud800"),
        replace(CALL, region="\ud800"),
        replace(CALL, retain_days="many"),
        replace(CALL, region=7),
        replace(CALL, data=frozenset({7})),
        replace(CALL, at=None),
        replace(CALL, actor=None),
        replace(CALL, sanitised=Sanitised(kind="attribution", data=frozenset())),  # type: ignore[arg-type] # no kind that there is
        replace(CALL, sanitised=Sanitised(kind=[], data=frozenset())),  # type: ignore[arg-type] # no kind that there is
    ],
)
def test_a_call_that_fits_no_schema_is_refused(call: Call) -> None:
    decision = policy(ALLOW).decide(MODEL, call)
    assert not decision.allowed
    assert answers(decision) == {"engine.stopped": False}


def test_an_engine_that_breaks_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    own = policy(ALLOW)

    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("secret of the payload")

    assert own.decide(MODEL, CALL).allowed
    monkeypatch.setattr(Program, "trace", broken)
    decision = own.decide(MODEL, replace(CALL, action="scan"))
    assert not decision.allowed
    assert answers(decision) == {"engine.stopped": False}
    assert "secret" not in decision.findings[0].reason
    assert decision.policy == own.digest


@pytest.mark.parametrize(
    "head",
    [
        'principal, action == Action::"scan", resource',
        'principal, action in [Action::"scan", Action::"train"], resource',
        'principal == Actor::"bob", action, resource',
        'principal, action, resource == Model::"other"',
    ],
)
def test_a_rule_about_something_else_does_not_answer(head: str) -> None:
    decision = policy(ALLOW, forbid("true", head=head)).decide(MODEL, CALL)
    assert decision.allowed
    assert answers(decision) == {"a.allow": True}


@pytest.mark.parametrize(
    "head",
    [
        'principal, action == Action::"infer", resource',
        'principal, action in [Action::"scan", Action::"infer"], resource is Model',
        'principal == Actor::"ann", action, resource',
        f'principal, action, resource == Model::"{MODEL.digest}"',
    ],
)
def test_a_rule_about_the_call_answers(head: str) -> None:
    assert answers(policy(ALLOW, forbid("true", head=head)).decide(MODEL, CALL)) == {"a.allow": True, "a.forbid": False}


@pytest.mark.parametrize(
    ("condition", "call", "model"),
    [
        ('principal.tenant == "t" && principal.name == "ann"', CALL, MODEL),
        ('context has host && context.host == "DE"', replace(CALL, host="DE"), MODEL),
        (
            'context has signer && context.signer == "k" && context.sealed',
            replace(CALL, signer="k", sealed=True),
            MODEL,
        ),
        ("context has quota && context.quota == 9", replace(CALL, quota=9), MODEL),
        ("!(context has host || context has signer || context has quota || context has consented)", CALL, MODEL),
        (
            'context has consented && context.consented == {receipt: "r", explicit: true, guardian: false}',
            replace(CALL, consented=Consented(receipt="r", explicit=True)),
            MODEL,
        ),
        ('resource.name == "m" && resource.task == "embed"', CALL, MODEL),
        ('resource.purposes == ["a", "b"]', CALL, replace(MODEL, purposes=("b", "a"))),
        ('resource.licence.known && resource.licence.id == "MIT"', CALL, MODEL),
        ("resource.licence has commercial && resource.licence.commercial", CALL, MODEL),
        ('resource.licence has derive && resource.licence.derive == "share"', CALL, MODEL),
        ("resource.licence has share_alike && !resource.licence.share_alike", CALL, MODEL),
        ("resource.licence has attribution && resource.licence.attribution", CALL, MODEL),
        ("resource.licence has notice_file && !resource.licence.notice_file", CALL, MODEL),
        ('!resource.licence.known && resource.licence.id == "Nobody-1"', CALL, replace(MODEL, licence="Nobody-1")),
        ("!(resource.licence has commercial)", CALL, replace(MODEL, licence="MIT OR Nobody-1")),
        ("!(resource.licence has derive)", CALL, replace(MODEL, licence="")),
        (
            "context.at == 5 && context.usage == 6 && context.retain_days == 7",
            replace(CALL, at=5, usage=6, retain_days=7),
            MODEL,
        ),
        ('context.data == ["card", "email"]', replace(CALL, data=frozenset({"email", "card"})), MODEL),
        ("context.data.isEmpty()", CALL, MODEL),
        ("!(context has purpose || context has basis || context has consent)", CALL, MODEL),
        ("!(context has subject || context has region)", CALL, MODEL),
        ('context has basis && context.basis == "contract"', replace(CALL, basis="contract"), MODEL),
        ('context has consent && context.consent == "r"', replace(CALL, consent="r"), MODEL),
        ('context has subject && context.subject == "s"', replace(CALL, subject="s"), MODEL),
        ('context has region && context.region == "EU"', replace(CALL, region="EU"), MODEL),
        (
            'context has purpose && context.purpose.name == "support" && context.purpose.declared && '
            'context.purpose.commercial && context.purpose.bases == ["contract"] && '
            'context.purpose.recipients == ["lab"] && context.purpose.retain_days == 30 && !(context.purpose has uses)',
            replace(CALL, purpose="support"),
            MODEL,
        ),
        (
            'context has purpose && context.purpose.name == "x" && !context.purpose.declared && '
            "context.purpose.commercial && context.purpose.bases.isEmpty()",
            replace(CALL, purpose="x"),
            MODEL,
        ),
    ],
)
def test_the_facts_reach_the_rules(condition: str, call: Call, model: Manifest) -> None:
    assert policy(ALLOW[:-1] + f" when {{ {condition} }};").decide(model, call).allowed


def test_names_cannot_break_out_of_the_request() -> None:
    hostile = 'ann", "id": "root\n\\u0022"}`'
    own = policy(ALLOW, forbid("true", head='principal == Actor::"root", action, resource'))
    assert own.decide(MODEL, replace(CALL, actor=hostile)).allowed
    decision = own.decide(MODEL, replace(CALL, actor="root"))
    assert answers(decision) == {"a.allow": True, "a.forbid": False}


def test_models_of_one_digest_are_told_apart() -> None:
    """What is cached depends on everything that it is made of."""
    own = policy(ALLOW, forbid("!resource.licence.known"))
    assert own.decide(MODEL, CALL).allowed
    assert not own.decide(replace(MODEL, licence="Nobody-1"), CALL).allowed
    assert own.decide(MODEL, CALL).allowed


def test_the_digest_names_texts_schema_and_purposes() -> None:
    files = {"b.cedar": ALLOW.encode(), "a.cedar": forbid("context.usage > 5").encode()}
    purposes = {"support": PURPOSE, "research": replace(PURPOSE, commercial=False)}
    own = load(files, SCHEMA, purposes)
    assert own.digest == load(dict(reversed(files.items())), SCHEMA, dict(reversed(purposes.items()))).digest
    assert len(own.digest) == 64
    assert own.decide(MODEL, CALL).policy == own.digest
    others = [
        load({**files, "a.cedar": files["a.cedar"] + b"\n"}, SCHEMA, purposes),
        load({"b.cedar": files["b.cedar"], "c.cedar": files["a.cedar"]}, SCHEMA, purposes),
        load({"b.cedar": files["b.cedar"]}, SCHEMA, purposes),
        load(files, SCHEMA + b"\n", purposes),
        load(files, SCHEMA, {"support": PURPOSE}),
        load(files, SCHEMA, {**purposes, "research": PURPOSE}),
        load(files, SCHEMA, {**purposes, "support": replace(PURPOSE, bases=frozenset({"consent"}))}),
        load(files, SCHEMA, {**purposes, "support": replace(PURPOSE, retain_days=31)}),
    ]
    assert len({own.digest, *(other.digest for other in others)}) == 9


def test_purposes_changed_later_are_not_in_force() -> None:
    purposes = {"support": PURPOSE}
    own = load(
        {"own.cedar": (ALLOW + forbid("context has purpose && !context.purpose.declared")).encode()}, SCHEMA, purposes
    )
    purposes["late"] = PURPOSE
    assert not own.decide(MODEL, replace(CALL, purpose="late")).allowed


@pytest.mark.parametrize(
    ("condition", "changed"),
    [
        ("context.at > 5", {"at": 9}),
        ("context.usage > 5", {"usage": 9}),
        ("context.retain_days > 5", {"retain_days": 9}),
        ('context has subject && context.subject == "s"', {"subject": "s"}),
        ('context has region && context["region"] == "EU"', {"region": "EU"}),
        ('context has purpose && context.purpose.name == "support"', {"purpose": "support"}),
        ('context has consent && context.consent like "c*"', {"consent": "c-1"}),
        ('context.data.contains("email")', {"data": frozenset({"email"})}),
        ('principal == Actor::"bob"', {"actor": "bob"}),
        ('principal.tenant == "u"', {"tenant": "u"}),
    ],
)
def test_an_answer_is_not_shared_by_calls_that_differ_in_what_a_rule_reads(
    condition: str, changed: dict[str, Any]
) -> None:
    own = policy(ALLOW, forbid(condition))
    for _ in range(2):
        assert own.decide(MODEL, CALL).allowed
        assert not own.decide(MODEL, replace(CALL, **changed)).allowed


def test_one_permit_is_enough() -> None:
    """A permit that did not match is no reason against a call that another one permits."""
    other = ALLOW.replace("a.allow", "b.allow")[:-1] + " when { context.usage > 5 };"
    decision = policy(ALLOW, other).decide(MODEL, CALL)
    assert decision.allowed
    assert answers(decision) == {"a.allow": True, "b.allow": True}


def test_what_a_rule_finds_is_told_for_every_resource_and_actor() -> None:
    """Rules about one resource or one actor are reached through tables; each answers where it is asked."""
    ann, model = 'principal == Actor::"ann"', f'resource == Model::"{MODEL.digest}"'
    one = forbid("context.usage > 5", "b.one", f"principal, action, {model}")
    two = forbid("context.usage > 7", "c.ann", f"{ann}, action, resource")
    own = policy(ALLOW, one, two, forbid("context.usage > 9", "d.both", f"{ann}, action, {model}"))
    other, bob = replace(MODEL, digest="cd" * 32), replace(CALL, actor="bob")
    asked = [own.decide(MODEL, CALL), own.decide(other, CALL), own.decide(MODEL, bob), own.decide(other, bob)]
    assert [set(answers(decision)) - {"a.allow"} for decision in asked] == [
        {"b.one", "c.ann", "d.both"},
        {"c.ann"},
        {"b.one"},
        set(),
    ]
    told = answers(own.decide(MODEL, replace(CALL, usage=8)))
    assert told == {"a.allow": True, "b.one": False, "c.ann": False, "d.both": True}


@pytest.mark.parametrize(
    ("condition", "construct"),
    [
        ('ip("10.0.0.1").isLoopback()', "isLoopback"),
        ('decimal("0.1") == decimal("0.2")', "decimal"),
        ('datetime("2026-01-01") < datetime("2026-01-02")', "datetime"),
        ('duration("1h") < duration("2h")', "duration"),
    ],
)
def test_what_is_not_supported_is_named(condition: str, construct: str) -> None:
    with pytest.raises(PolicyError) as caught:
        policy(ALLOW, forbid(condition))
    assert caught.value.code == "policy_unsupported"
    assert "a.forbid" in str(caught.value)
    assert construct in str(caught.value)


@pytest.mark.parametrize("joint", ["&&", "||"])
@pytest.mark.parametrize("parts", [2, 50, 56])
def test_long_chains_are_compiled(joint: str, parts: int) -> None:
    chain = f" {joint} ".join(f"context.usage == {number}" for number in range(parts))
    assert policy(ALLOW, forbid(chain)).decide(MODEL, replace(CALL, usage=100)).allowed


def test_a_policy_is_made_again_from_its_source() -> None:
    own = policy(ALLOW, forbid("context has purpose && !context.purpose.declared"))
    again = reloaded(own.source)
    assert again.digest == own.digest
    for call in (CALL, replace(CALL, purpose="support"), replace(CALL, purpose="x")):
        assert again.decide(MODEL, call) == own.decide(MODEL, call)


@pytest.mark.parametrize("source", [b"", b"{}", b"[]", b"\xff", b'{"format": 2}', b"[" * 100_000])
def test_what_is_no_source_is_refused(source: bytes) -> None:
    with pytest.raises(PolicyError) as caught:
        reloaded(source)
    assert caught.value.code == "policy_archive"


def test_an_archived_policy_of_format_1_stays_readable() -> None:
    (golden,) = (Path(__file__).resolve().parents[3] / "vectors" / "policies").glob("*.json")
    own = reloaded(golden.read_bytes())
    assert own.digest == golden.stem
    call = replace(CALL, purpose="care", basis="contract", data=frozenset({"health"}), sealed=True, signer="s")
    refused = [finding.rule for finding in own.decide(MODEL, call).findings if not finding.ok]
    assert refused == ["gdpr.special"]
