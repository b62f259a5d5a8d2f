"""Claims are proved for every call; what does not hold comes with a call that the engine itself allows."""

from __future__ import annotations

from typing import Any, get_args

import pytest
from msgspec.structs import replace

from policies.cedar import Engine, PolicyError, filled, load, schema
from policies.cedar.claims import Claim, Claims
from policies.cedar.engine import Source
from policies.facts import Call, Consented, Decision, Manifest, Purpose, Sanitised, Sanitising
from toolkit.policy import Policy, pack, packs, schema_text

z3 = pytest.importorskip("z3", reason="the extra `prove` is not installed")

from policies.cedar.proof import _ALWAYS, Difference, Example, difference, proved  # noqa: E402 - needs z3

ALLOW = '@id("a.allow") @reason("Everything is allowed here.") permit (principal, action, resource);'
SCHEMA = schema(schema_text(), [])


def forbid(condition: str, id_: str = "a.forbid", head: str = "principal, action, resource") -> str:
    return f'@id("{id_}") @reason("This is forbidden here.") forbid ({head}) when {{ {condition} }};'


def own(*rules: str) -> Engine:
    return load({"own.cedar": "\n".join(rules).encode()}, SCHEMA, {})


def holds(engine: Engine, never: str) -> bool:
    (found,) = proved(engine.rules, SCHEMA.decode(), [Claim(name="claim", never=never)], {})
    if found.example is not None:
        assert decided(engine, found.example)
    return found.holds


def changed(old: Engine, new: Engine) -> tuple[bool, bool]:
    found = difference((old.rules, SCHEMA.decode(), {}), (new.rules, SCHEMA.decode(), {}))
    confirmed(old, new, found)
    return found.widened is not None, found.narrowed is not None


def confirmed(old: Engine, new: Engine, found: Difference) -> None:
    if found.widened is not None:
        assert (decided(old, found.widened), decided(new, found.widened)) == (False, True)
    if found.narrowed is not None:
        assert (decided(old, found.narrowed), decided(new, found.narrowed)) == (True, False)

    for example, engine, other in ((found.sanitised, new, old), (found.unsanitised, old, new)):
        if example is not None:
            kinds = [one.kind for one in answered(engine, example).obligations]
            assert not answered(engine, example).allowed
            assert kinds in (["redact"], ["pseudonymise"])
            assert not answered(other, example).allowed
            assert kinds != [one.kind for one in answered(other, example).obligations]


def decided(engine: Engine, example: Example) -> bool:
    return answered(engine, example).allowed


def answered(engine: Engine, example: Example) -> Decision:
    """What the engine itself says to an example, made into a call."""
    context: dict[str, Any] = dict(example.context)
    purpose, licence = context.pop("purpose", None), example.model.get("licence", {})
    purposes = {}
    if purpose is not None:
        name = purpose.get("name", "")
        if purpose.get("declared", True):
            purposes[name] = Purpose(
                bases=frozenset(purpose.get("bases", ())),
                commercial=purpose.get("commercial", True),
                recipients=tuple(purpose.get("recipients", ())),
                retain_days=purpose.get("retain_days", 0),
            )
        context["purpose"] = name
    consented = context.pop("consented", None)
    if consented is not None:
        context["consented"] = Consented(**{"receipt": "", **consented})
    context.pop("packs", None)
    for kind in set(context.pop("obligations", [])) & set(get_args(Sanitising)):
        context["sanitised"] = Sanitised(kind=kind, data=frozenset())
    context["data"] = frozenset(context.get("data", ()))
    call = Call(
        id="e", actor=example.actor["id"], tenant=example.actor.get("tenant", ""), action=example.action,  # type: ignore[arg-type] # a text
        model=example.model["id"], **{"at": 0, **context},
    )  # fmt: skip
    free = licence.get("commercial", True)
    model = Manifest(
        format=1, name=example.model.get("name", ""), version="", digest=example.model["id"], inputs=(), outputs=(),
        task=example.model.get("task", ""), purposes=tuple(example.model.get("purposes", ())),
        licence=("MIT" if free else "CC-BY-NC-4.0") if licence.get("known", True) else licence.get("id", "none"),
    )  # fmt: skip
    asked = Engine(engine.rules, Source(texts={}, schema="", purposes=purposes, parameters={}))
    return asked.decide(model, call)


@pytest.mark.parametrize(
    ("literal", "other"),
    [
        ('"\\\\u{41}"', '"A"'),
        ('"\\\\x41"', '"A"'),
        ('"\\\\u0041"', '"A"'),
        ('"\\\\"', '"\\\\u{5c}"'),
        ('"é"', '"\\\\u{e9}"'),
    ],
)
def test_two_texts_are_never_taken_for_one(literal: str, other: str) -> None:
    """The solver's own escapes are no escapes of Cedar's."""
    engine = own(ALLOW, forbid(f"principal.name == {literal}"))
    assert not holds(engine, f"principal.name == {other}")
    assert holds(engine, f"principal.name == {literal}")
    assert not holds(own(ALLOW, forbid(f"principal.name like {literal}")), f"principal.name == {other}")
    assert not holds(own(ALLOW, forbid(f"[{literal}].contains(principal.name)")), f"principal.name == {other}")


def test_a_character_that_the_solver_does_not_know_is_refused() -> None:
    with pytest.raises(PolicyError) as caught:
        holds(own(ALLOW, forbid('principal.name == "\U000e0041"')), 'principal.name == "A"')
    assert caught.value.code == "policy_unproved"


def test_what_no_schema_foresees_is_never_there() -> None:
    assert holds(own(ALLOW), "context has colour")
    assert not holds(own(ALLOW), "!(context has colour)")


@pytest.mark.parametrize("name", packs())
def test_the_claims_of_packs_hold_for_every_way_to_fill_them(name: str) -> None:
    policy = Policy.shipped(name)
    claims = Claims.read(name, pack(name).claims).claim
    assert len(claims) >= 3
    assert [one for one in proved(policy.engine().rules, policy.schema.decode(), claims, None) if not one.holds] == []


@pytest.mark.parametrize("name", packs())
def test_every_claim_needs_the_rules_that_it_is_about(name: str) -> None:
    """Of a pack without its `forbid` rules, and with all permitted, no claim is left."""
    policy = Policy.shipped(name)
    claims = Claims.read(name, pack(name).claims).claim
    results = proved(own(ALLOW).rules, policy.schema.decode(), claims, None)
    assert [one.name for one in results if one.holds] == []


@pytest.mark.parametrize("name", packs())
def test_without_a_rule_the_policy_is_wider(name: str) -> None:
    policy = Policy.shipped(name)
    rules, types = policy.engine().rules, policy.schema.decode()
    for dropped in rules:
        rest = [rule for rule in rules if rule is not dropped]
        found = difference((rules, types, policy.filled), (rest, types, policy.filled))
        assert (found.widened is not None, found.narrowed is not None) in (
            # of base.allow nothing would be left; with the defaults some rules of packs are about no purpose
            [(False, True)] if dropped.effect == "permit" else [(True, False), (False, False)]
        )


@pytest.mark.parametrize(
    ("rules", "never", "expected"),
    [
        ([forbid("context.usage >= 5")], "context.usage == 5", True),
        ([forbid("context.usage > 5")], "context.usage == 5", False),
        ([forbid("context.usage * 2 > 9")], "context.usage == 5", True),
        # a rule that overflows refuses, too
        ([forbid("context.usage * 9223372036854775807 == 3")], "context.usage > 1", True),
        ([forbid("context.usage * 9223372036854775807 == 3")], "context.usage > 0", False),
        ([forbid('context.data.contains("a")')], 'context.data == ["a", "b"]', True),
        ([forbid('context.data.contains("a")')], 'context.data.containsAny(["a", "b"])', False),
        ([forbid('context.data.containsAny(["a", "b"])')], 'context.data.contains("b")', True),
        ([forbid('context.data.containsAll(["a", "b"])')], 'context.data.contains("b")', False),
        ([forbid("!context.data.isEmpty()")], 'context.data.contains("x")', True),
        ([forbid('principal.name like "a*"')], 'principal.name == "abc"', True),
        ([forbid('principal.name like "a*c"')], 'principal.name == "abd"', False),
        ([forbid("context has region")], 'context has region && context.region == "DE"', True),
        ([forbid('context has region && context.region == "DE"')], "context has region", False),
        ([forbid("true", head='principal, action == Action::"scan", resource')], 'action == Action::"scan"', True),
        ([forbid("true", head='principal == Actor::"ann", action, resource')], 'principal == Actor::"ann"', True),
        ([forbid("true", head='principal == Actor::"ann", action, resource')], 'principal == Actor::"bob"', False),
        ([forbid("if context has quota then context.usage > context.quota else true")], "!(context has quota)", True),
        ([forbid('context.packs == {}')], "true", None),
        ([forbid("-context.usage > 0")], "context.usage < 0", True),
    ],
)  # fmt: skip
def test_what_holds_and_what_does_not(rules: list[str], never: str, expected: bool | None) -> None:
    engine = own(ALLOW, *rules)
    if expected is None:
        with pytest.raises(PolicyError) as caught:
            holds(engine, never)
        assert caught.value.code == "policy_unproved"
    else:
        assert holds(engine, never) is expected


def test_an_edit_shows_as_what_it_does() -> None:
    before = own(ALLOW, forbid("context.usage >= 5"))
    assert changed(before, own(ALLOW, forbid("context.usage > 5"))) == (True, False)
    assert changed(before, own(ALLOW, forbid("context.usage >= 4"))) == (False, True)
    more = own(ALLOW, forbid("context.usage >= 5"), forbid("context.usage > 9", "b.more"))
    assert changed(before, more) == (False, False)
    assert changed(before, own(ALLOW, forbid("context.sealed"))) == (True, True)
    assert changed(before, before) == (False, False)


def asking(kind: str, condition: str = "true", id_: str = "a.asking", gives: str | None = None) -> str:
    """A rule that gives way to an obligation."""
    unless = f'context.obligations.contains("{kind}")' if gives is None else gives
    return (
        f'@id("{id_}") @reason("This is asked for here.") @obligation("{kind}") '
        f'forbid (principal, action == Action::"infer", resource) when {{ {condition} }} unless {{ {unless} }};'
    )


PERSONAL = "!context.data.isEmpty()"
INFER = 'action == Action::"infer"'


@pytest.mark.parametrize(
    ("rules", "never", "expected"),
    [
        ([asking("attribution")], f'{INFER} && !context.obligations.contains("attribution")', True),
        (
            [asking("attribution", "context.usage > 5")],
            f'{INFER} && !context.obligations.contains("attribution")',
            False,
        ),
        # what no rule asks for, no answer carries
        ([], 'context.obligations.contains("attribution")', True),
        (
            [asking("attribution", "context.usage > 5")],
            'context.usage < 6 && context.obligations.contains("attribution")',
            True,
        ),
        (
            [asking("attribution", "context.usage > 5")],
            'context.usage > 5 && context.obligations.contains("attribution")',
            False,
        ),
        ([asking("attribution", gives="false")], INFER, True),
        # one rule asks because of what another was granted
        (
            [asking("attribution"), asking("ai_notice", 'context.obligations.contains("attribution")', "b.asking")],
            f'{INFER} && !context.obligations.contains("ai_notice")',
            True,
        ),
        ([asking("redact", PERSONAL, gives="false")], f"{INFER} && {PERSONAL}", True),
        ([asking("redact", PERSONAL)], f"{INFER} && {PERSONAL}", False),
        ([asking("redact", PERSONAL)], f'{INFER} && {PERSONAL} && !context.obligations.contains("redact")', True),
        ([], f'!({INFER}) && context.obligations.contains("redact")', True),
        ([], 'context.obligations.containsAll(["redact", "pseudonymise"])', True),
    ],
)
def test_claims_are_about_calls_with_their_obligations_met(rules: list[str], never: str, expected: bool) -> None:
    words: dict[str, Any] = {"ai_act": {"ai_notice": "A machine."}}
    engine = load({"own.cedar": "\n".join([ALLOW, *rules]).encode()}, SCHEMA, {}, words)
    (found,) = proved(engine.rules, SCHEMA.decode(), [Claim(name="claim", never=never)], {})
    assert found.holds is expected


def told(old: Engine, new: Engine) -> list[str]:
    found = difference((old.rules, SCHEMA.decode(), {}), (new.rules, SCHEMA.decode(), {}))
    confirmed(old, new, found)
    return [name for name in found.__struct_fields__ if getattr(found, name) is not None]


def test_an_edit_of_an_obligation_shows_as_what_it_does() -> None:
    plain, no, masked, named = (
        own(ALLOW, *rules)
        for rules in ([], [forbid(f"{INFER} && {PERSONAL}")], [asking("redact", PERSONAL, gives="false")],
                      [asking("pseudonymise", PERSONAL, gives="false")])
    )  # fmt: skip
    assert told(no, masked) == ["sanitised"]
    assert told(masked, no) == ["unsanitised"]
    assert told(masked, named) == ["sanitised", "unsanitised"]
    assert told(plain, masked) == ["narrowed"]
    assert told(masked, plain) == ["widened"]
    assert told(masked, masked) == []
    # what an answer can carry is no refusal
    carried = own(ALLOW, asking("attribution"))
    assert told(plain, carried) == told(carried, plain) == []
    assert told(own(ALLOW, asking("attribution", gives="false")), plain) == ["widened"]


def test_a_parameter_that_opens_masking_shows() -> None:
    chosen = [pack("base")]
    types, rules = schema(schema_text(), chosen).decode(), Policy.shipped("base").engine().rules
    old, new = filled(chosen, {}), filled(chosen, {"base": {"redact": ["search"]}})
    found = difference((rules, types, old), (rules, types, new))
    assert (found.widened, found.narrowed, found.unsanitised) == (None, None, None)
    assert found.sanitised is not None
    assert found.sanitised.context["purpose"]["name"] == "search"
    assert found.sanitised.context["data"]
    assert "basis" not in found.sanitised.context


def test_a_policy_of_before_there_were_obligations_is_still_compared() -> None:
    before = SCHEMA.decode().replace("  obligations: Set<String>,\n", "")
    old = load({"own.cedar": f"{ALLOW} {forbid('context.usage > 5')}".encode()}, before.encode(), {})
    new = own(ALLOW, forbid("context.usage > 5"), asking("redact", "context.usage > 3", gives="false"))
    found = difference((old.rules, before, {}), (new.rules, SCHEMA.decode(), {}))
    assert (found.widened, found.unsanitised) == (None, None)
    assert found.narrowed is not None
    assert 3 < found.narrowed.context["usage"] <= 5


def test_a_parameter_can_widen() -> None:
    chosen = [pack("base"), pack("gdpr")]
    types = schema(schema_text(), chosen).decode()
    rules = Policy.shipped("gdpr").engine().rules
    old, new = filled(chosen, {}), filled(chosen, {"gdpr": {"retain_days": 800}})
    found = difference((rules, types, old), (rules, types, new))
    assert found.widened is not None
    assert 730 < found.widened.context["retain_days"] <= 800
    assert found.narrowed is None


@pytest.mark.parametrize(
    ("code", "data"),
    [
        ("policy_cases", b"\xff"),
        ("policy_cases", b"[[claim]]\nname = 1"),
        ("policy_cases", b'[[claim]]\nname = "a"\nnever = "true"\ncolour = 1'),
        ("policy_cases", b"#" * 300_000),
        ("policy_cases", b'[[claim]]\nname = "a"\nnever = "true"\n' * 201),
        ("policy_syntax", b'[[claim]]\nname = "a"\nnever = "this is"'),
        ("policy_schema", b'[[claim]]\nname = "a"\nnever = "context.colour == 1"'),
        (
            "policy_annotation",
            b'[[claim]]\nname = "a"\nnever = "true }; permit (principal, action, resource) when { true"',
        ),
    ],
)
def test_what_is_no_claim_is_refused(code: str, data: bytes) -> None:
    with pytest.raises(PolicyError) as caught:
        proved(own(ALLOW).rules, SCHEMA.decode(), Claims.read("claims.toml", data).claim, {})
    assert caught.value.code == code


@pytest.mark.parametrize("always", _ALWAYS)
def test_what_proofs_take_for_granted_is_so_for_every_call(always: str) -> None:
    engine = load(
        {"own.cedar": ALLOW.replace(";", f" when {{ {always} }};").encode()},
        SCHEMA,
        {"free": Purpose(bases=frozenset({"contract"}), commercial=False, retain_days=9, recipients=("lab",))},
    )
    model = Manifest(format=1, name="m", version="", digest="d", task="", licence="MIT", inputs=(), outputs=())
    call = Call(id="c", at=1, actor="a", tenant="t", action="infer", model="d")
    for licence in ("MIT", "Apache-2.0", "CC-BY-NC-4.0", "LicenseRef-other", ""):
        for purpose in (None, "free", "other"):
            assert engine.decide(replace(model, licence=licence), replace(call, purpose=purpose)).allowed
