"""A forbid with an obligation gives way when it is met, and to nothing else; Cedar itself would say the same."""

from __future__ import annotations

import json
from typing import Any

import cedarpy
import pytest
from msgspec.structs import replace

from policies.cedar import Engine, PolicyError, filled, load, request, schema
from policies.cedar.source import handle
from policies.facts import Ancestor, Call, Decision, Manifest, Purpose, Sanitised
from toolkit.policy import pack, schema_text

SCHEMA = schema(schema_text(), [])
ALLOW = '@id("a.allow") @reason("Everything is allowed here.") permit (principal, action, resource);'
MODEL = Manifest(format=1, name="m", version="1", digest="ab" * 32, task="embed", licence="MIT", inputs=(), outputs=())
CALL = Call(id="c", at=1, actor="ann", tenant="t", action="infer", model=MODEL.digest)
MET = 'context.obligations.contains("{}")'
INFER = 'principal, action == Action::"infer", resource'


def rule(kind: str, condition: str = "true", unless: str | None = None, id_: str = "a.rule") -> str:
    """A forbid that gives way to an obligation."""
    gives = MET.format(kind) if unless is None else unless
    return (
        f'@id("{id_}") @reason("This is asked for here.") @obligation("{kind}") forbid ({INFER}) '
        f"when {{ {condition} }} unless {{ {gives} }};"
    )


def forbid(condition: str, id_: str = "a.forbid") -> str:
    return f'@id("{id_}") @reason("This is forbidden here.") forbid ({INFER}) when {{ {condition} }};'


def policy(*rules: str, parameters: Any = None) -> Engine:
    return load({"own.cedar": "\n".join(rules).encode()}, SCHEMA, {}, parameters or {})


def kinds(decision: Decision) -> list[str]:
    return [one.kind for one in decision.obligations]


def against(decision: Decision) -> list[str]:
    return [finding.rule for finding in decision.findings if not finding.ok]


def done(kind: Any, call: Call = CALL) -> Call:
    return replace(call, sanitised=Sanitised(kind=kind, data=frozenset({"phone", "email"})))


def test_what_an_answer_can_carry_is_granted() -> None:
    decision = policy(ALLOW, rule("attribution")).decide(MODEL, CALL)
    assert (decision.allowed, kinds(decision), against(decision)) == (True, ["attribution"], [])


def test_what_no_rule_asks_for_is_not_carried() -> None:
    decision = policy(ALLOW, rule("attribution", "context.usage > 5")).decide(MODEL, CALL)
    assert (decision.allowed, decision.obligations) == (True, ())


def test_what_is_done_to_a_payload_is_asked_for_and_granted_when_it_was_done() -> None:
    for kind in ("redact", "pseudonymise"):
        own = policy(ALLOW, rule(kind))
        asked = own.decide(MODEL, CALL)
        assert (asked.allowed, kinds(asked), against(asked)) == (False, [kind], ["a.rule"])
        granted = own.decide(MODEL, done(kind))
        assert (granted.allowed, [(one.kind, one.text) for one in granted.obligations]) == (
            True,
            [(kind, "email, phone")],
        )


def test_a_refusal_names_only_what_stands_in_the_way() -> None:
    decision = policy(ALLOW, rule("attribution"), forbid("context.usage > 5")).decide(MODEL, replace(CALL, usage=6))
    assert (decision.allowed, decision.obligations, against(decision)) == (False, (), ["a.forbid"])


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        ([rule("redact")], ["redact"]),
        ([rule("redact"), rule("redact", id_="b.rule")], ["redact"]),
        ([rule("redact"), rule("attribution", id_="b.rule")], ["redact"]),
        ([rule("redact"), rule("pseudonymise", id_="b.rule")], []),
        ([rule("redact"), forbid("true")], []),
        ([rule("redact"), forbid("context.usage + 9223372036854775807 > 0")], []),  # it cannot be evaluated
        ([rule("redact"), rule("attribution", unless="false", id_="b.rule")], []),  # it never gives way
        ([rule("redact", "context.usage > 5"), forbid("true")], []),
    ],
)
def test_a_payload_is_to_be_sanitised_only_where_that_answers_every_rule(rules: list[str], expected: list[str]) -> None:
    decision = policy(ALLOW, *rules).decide(MODEL, replace(CALL, usage=1))
    assert (decision.allowed, kinds(decision)) == (False, expected)


def test_without_a_permit_nothing_is_asked_for() -> None:
    for kind in ("redact", "attribution"):
        decision = policy(rule(kind)).decide(MODEL, CALL)
        assert (decision.allowed, decision.obligations) == (False, ())


def test_what_was_done_once_is_not_asked_for_again() -> None:
    own = policy(ALLOW, rule("redact", unless="false"), rule("pseudonymise", "false", id_="b.rule"))
    assert kinds(own.decide(MODEL, CALL)) == ["redact"]
    decision = own.decide(MODEL, done("redact"))
    assert (decision.allowed, decision.obligations, against(decision)) == (False, (), ["a.rule"])


def test_a_rule_that_never_gives_way_refuses() -> None:
    decision = policy(ALLOW, rule("attribution", unless="false")).decide(MODEL, CALL)
    assert (decision.allowed, decision.obligations, against(decision)) == (False, (), ["a.rule"])


def test_what_one_rule_is_granted_may_be_what_another_asks_about() -> None:
    words = {"ai_act": {"ai_notice": "A machine."}}
    chain = rule("ai_notice", MET.format("attribution"), id_="b.rule")
    decision = policy(ALLOW, rule("attribution"), chain, parameters=words).decide(MODEL, CALL)
    assert (decision.allowed, kinds(decision)) == (True, ["attribution", "ai_notice"])
    against_it = forbid(MET.format("attribution"))
    assert against(policy(ALLOW, rule("attribution"), against_it).decide(MODEL, CALL)) == ["a.forbid"]


@pytest.mark.parametrize("action", ["scan", "measure", "compress", "export", "train"])
def test_only_running_a_model_has_an_answer(action: Any) -> None:
    own = policy(ALLOW, rule("attribution"))
    assert own.decide(MODEL, replace(CALL, action=action)).obligations == ()


def test_cedar_says_the_same_of_the_call_as_it_was_granted() -> None:
    """The facts that the engine granted by are a request that Cedar itself allows, and without them it refuses."""
    own = policy(ALLOW, rule("attribution"), rule("redact", id_="b.rule"))
    decision = own.decide(MODEL, done("redact"))
    assert decision.allowed
    facts = request.context(done("redact"), request.Purposes({}), request.parameters({}))
    for met, allowed in ((sorted(kinds(decision)), True), (["redact"], False), (["attribution"], False), ([], False)):
        context = {**{name: _json(value) for name, value in facts.items()}, "obligations": met}
        question = {
            "principal": {"type": "Actor", "id": "ann"},
            "action": {"type": "Action", "id": "infer"},
            "resource": {"type": "Model", "id": MODEL.digest},
            "context": context,
        }
        answer = cedarpy.is_authorized(question, handle(own.rules), [], cedarpy.Schema.from_str(SCHEMA.decode()))
        assert answer.allowed is allowed, answer.diagnostics.errors


def _json(value: Any) -> Any:
    return sorted(value) if isinstance(value, frozenset) else json.loads(json.dumps(value))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (rule("redcat"), "own.cedar:2:1: rule a.rule has an @obligation that is not known"),
        (rule(""), "own.cedar:2:1: rule a.rule has an @obligation that is not known"),
        (rule("Redact"), "own.cedar:2:1: rule a.rule has an @obligation that is not known"),
        (
            rule("redact").replace('("redact")', "", 1),
            "own.cedar:2:1: rule a.rule has an @obligation that is not known",
        ),
        (
            rule("redact").replace("forbid", "permit", 1),
            "own.cedar:2:1: rule a.rule has an @obligation, and is no forbid",
        ),
        (
            rule("redact").replace(INFER, "principal, action, resource", 1),
            "own.cedar:2:1: rule a.rule has an @obligation, and is no forbid",
        ),
        (
            rule("redact").replace(INFER, 'principal, action in [Action::"infer"], resource', 1),
            "own.cedar:2:1: rule a.rule has an @obligation, and is no forbid",
        ),
        (
            rule("redact").replace(INFER, 'principal, action == Action::"scan", resource', 1),
            "own.cedar:2:1: rule a.rule has an @obligation, and is no forbid",
        ),
    ],
)
def test_an_obligation_that_is_none_is_refused_at_load(text: str, says: str) -> None:
    with pytest.raises(PolicyError) as caught:
        policy(ALLOW, text)
    assert caught.value.code == "policy_annotation"
    assert str(caught.value).startswith(says)


NOTICE = rule("ai_notice")


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"ai_act": {"log_days": 3}},
        {"ai_act": {"ai_notice": "A machine."}, "other": {"ai_notice": "A robot."}},
        {"ai_act": {"ai_notice": ""}},
        {"ai_act": {"ai_notice": "  "}},
        {"ai_act": {"ai_notice": "A\r\nSet-Cookie: a=b"}},
        {"ai_act": {"ai_notice": "A\u2028machine."}},
        {"ai_act": {"ai_notice": "A\u202emachine."}},
        {"ai_act": {"ai_notice": "x" * 301}},
        {"ai_act": {"ai_notice": ["A machine."]}},
        {"ai_act": {"ai_notice": True}},
    ],
)
def test_a_notice_without_words_is_refused_at_load(parameters: Any) -> None:
    with pytest.raises(PolicyError) as caught:
        policy(ALLOW, NOTICE, parameters=parameters)
    assert caught.value.code == "policy_pack"


@pytest.mark.parametrize(
    "words", ["Sie sprechen mit einer Maschine.", "Vous \u00eates face \u00e0 une IA.", "您正在与人工智能系统交互。"]
)
def test_a_notice_has_the_words_of_the_pack(words: str) -> None:
    decision = policy(ALLOW, NOTICE, parameters={"ai_act": {"ai_notice": words}}).decide(MODEL, CALL)
    assert [(one.kind, one.text) for one in decision.obligations] == [("ai_notice", words)]


def test_the_attribution_is_that_of_the_model() -> None:
    own = policy(ALLOW, rule("attribution"))
    parent = Ancestor(name="big", digest="cd" * 32, licence="MIT", relation="parent")
    for model, text in (
        (MODEL, "m; licence: MIT, https://opensource.org/license/mit"),
        (
            replace(MODEL, name="small", licence="Apache-2.0", lineage=(parent,)),
            "small, made from big; licence: Apache-2.0, https://www.apache.org/licenses/LICENSE-2.0",
        ),
        (replace(MODEL, licence="LicenseRef-own"), "m; licence: LicenseRef-own"),
    ):
        assert own.decide(model, CALL).obligations[0].text == text


def test_the_digest_names_the_obligation() -> None:
    assert policy(ALLOW, rule("redact")).digest != policy(ALLOW, rule("pseudonymise")).digest


def test_the_packs_ask_for_what_they_say() -> None:
    """All packs in force, and a purpose for each."""
    chosen = [pack(name) for name in ("base", "gdpr", "licence", "ai-act")]
    purposes = {name: Purpose(bases=frozenset({"contract"}), retain_days=30) for name in ("chat", "search", "study")}
    given = {
        "base": {"redact": ["search"]},
        "gdpr": {"pseudonymise": ["study"]},
        "ai-act": {"assessed": [*purposes], "persons": ["chat"], "informed": ["chat"]},
    }
    texts = {one.name: one.policy for one in chosen}
    own = load(texts, schema(schema_text(), chosen), purposes, filled(chosen, given))
    call = replace(CALL, signer="s", sealed=True)
    personal = replace(call, data=frozenset({"email"}))
    assert kinds(own.decide(MODEL, replace(call, purpose="chat"))) == ["attribution", "ai_notice"]
    assert kinds(own.decide(MODEL, replace(call, purpose="search"))) == ["attribution"]
    assert kinds(own.decide(MODEL, replace(personal, purpose="search"))) == ["redact"]
    assert kinds(own.decide(MODEL, replace(personal, purpose="study"))) == []
    assert kinds(own.decide(MODEL, replace(personal, purpose="study", basis="contract"))) == ["pseudonymise"]
    with pytest.raises(PolicyError):
        filled(chosen, {"ai-act": {"ai_notice": 7}})
