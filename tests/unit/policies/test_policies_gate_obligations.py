"""Where a rule asks for it, one payload without its personal data feeds the model and the journal; or none does."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytest
from msgspec.structs import replace

from policies.cedar import Engine, filled, load, schema
from policies.errors import Denied, Failed, Ungated
from policies.facts import Call, Decision, Finding, Manifest, Obligation, Outcome, Purpose, Sanitised
from policies.gate import Grant, decide_and_open, gate, redeem
from policies.payload import Payload
from policies.privacy import Detected
from policies.privacy.redaction import MASK
from toolkit.policy import pack, schema_text

MODEL = Manifest(format=1, name="m", version="1", digest="ab" * 32, task="embed", licence="MIT", inputs=(), outputs=())
CALL = Call(
    id="c1", at=1, actor="ann", tenant="t", action="infer", model=MODEL.digest, purpose="search", signer="s",
    sealed=True, subject="p7",
)  # fmt: skip
EMAIL = Payload.checked({"texts": ["write to ann@example.com", "the ward"]})
MASKED = {"texts": [f"write to {MASK}", "the ward"]}
PURPOSES = {
    name: Purpose(bases=frozenset({"contract"}), commercial=False, retain_days=30)
    for name in ("search", "study", "support")
}
OWN = """
@id("own.night") @reason("Nobody asks at night.")
forbid (principal, action == Action::"infer", resource) when { context.usage > 5 };
"""


class Book:
    """A ledger in memory."""

    sealed = True

    def __init__(self) -> None:
        self.entries: list[tuple[Call, Decision, Payload]] = []

    def opened(self, call: Call, model: Manifest, decision: Decision, payload: Payload) -> int:
        self.entries.append((call, decision, payload))
        return len(self.entries) - 1

    def noted(self, entry: int, kind: str, data: dict[str, Any], payload: Payload | None = None) -> None:
        raise AssertionError("the gate itself notes nothing")

    def closed(self, entry: int, outcome: Outcome) -> None:
        pass


def engine() -> Engine:
    """Masked for `search`, pseudonyms for `study`, neither for `support`."""
    chosen = [pack(name) for name in ("base", "gdpr", "licence")]
    given = {"base": {"redact": ["search"]}, "gdpr": {"pseudonymise": ["study"]}}
    texts = {**{one.name: one.policy for one in chosen}, "own": OWN.encode()}
    return load(texts, schema(schema_text(), chosen), PURPOSES, filled(chosen, given))


POLICY = engine()


def initials(text: str, findings: Iterable[Detected]) -> str:
    for one in sorted(findings, key=lambda one: -one.start):
        text = f"{text[: one.start]}\u27e8{one.category}:{'b' * 32}\u27e9{text[one.end :]}"
    return text


def ran(
    call: Call = CALL, payload: Payload = EMAIL, policy: Any = POLICY, pseudonymise: Any = initials
) -> tuple[Book, Payload, Grant]:
    """What is on record, and what the runtime redeemed."""
    book, grants = Book(), []

    def work(grant: Grant) -> Payload:
        grants.append(grant)
        assert grant.payload is book.entries[0][2]
        assert grant.obligations == book.entries[0][1].obligations
        assert grant.call == book.entries[0][0]
        return redeem(grant, MODEL.digest, policy.digest)

    redeemed = gate(policy, MODEL, call, payload, book, work, pseudonymise=pseudonymise)
    assert redeemed is book.entries[0][2]
    return book, redeemed, grants[0]


def refused(
    call: Call = CALL, payload: Payload = EMAIL, policy: Any = POLICY, pseudonymise: Any = initials
) -> tuple[Book, list[str]]:
    book = Book()
    never: list[Grant] = []
    with pytest.raises(Denied) as caught:
        gate(policy, MODEL, call, payload, book, never.append, pseudonymise=pseudonymise)
    assert never == []
    assert book.entries[0][2] == Payload(value=None)
    assert "ann@example.com" not in str(book.entries)
    findings: tuple[Any, ...] = caught.value.findings
    return book, [finding.rule for finding in findings if not finding.ok]


def test_what_was_masked_is_all_that_there_is() -> None:
    book, redeemed, _ = ran()
    call, decision, _ = book.entries[0]
    assert redeemed.value == MASKED
    assert "ann@example.com" not in str(book.entries)
    assert call.data == frozenset()
    assert call.sanitised == Sanitised(kind="redact", data=frozenset({"email"}))
    assert decision.allowed
    assert [(one.kind, one.text) for one in decision.obligations] == [
        ("redact", "email"),
        ("attribution", "m; licence: MIT, https://opensource.org/license/mit"),
    ]


def test_what_has_a_pseudonym_stays_personal_data() -> None:
    book, redeemed, _ = ran(replace(CALL, purpose="study", basis="contract"))
    call, decision, _ = book.entries[0]
    assert redeemed.value == {"texts": [f"write to \u27e8email:{'b' * 32}\u27e9", "the ward"]}
    assert call.data == {"email"}
    assert call.sanitised == Sanitised(kind="pseudonymise", data=frozenset({"email"}))
    assert decision.obligations[0] == Obligation(kind="pseudonymise", text="email")


def test_with_a_basis_the_payload_goes_as_it_came() -> None:
    book, redeemed, _ = ran(replace(CALL, basis="contract"))
    assert redeemed is EMAIL
    assert book.entries[0][0].sanitised is None


def test_without_personal_data_nothing_is_done() -> None:
    clear = Payload.checked({"texts": ["the ward"]})
    book, redeemed, _ = ran(payload=clear)
    assert redeemed is clear
    assert [one.kind for one in book.entries[0][1].obligations] == ["attribution"]


@pytest.mark.parametrize(
    ("change", "rules"),
    [
        ({"purpose": "support"}, ["privacy.basis"]),
        ({"usage": 6}, ["own.night", "privacy.redact"]),  # another rule refuses, too
        ({"basis": "public_task"}, ["basis.permitted"]),
        ({"data": frozenset({"health"})}, ["gdpr.special", "privacy.redact"]),
        ({"data": frozenset({"location"})}, ["privacy.redact"]),  # declared: nobody knows where it stands
        ({"data": frozenset({"email"})}, ["privacy.redact"]),
        ({"signer": None}, ["base.integrity", "privacy.redact"]),
        ({"purpose": "study"}, ["gdpr.pseudonymise", "privacy.basis"]),
    ],
)
def test_a_rule_without_this_way_out_is_not_answered_by_it(change: dict[str, Any], rules: list[str]) -> None:
    assert sorted(refused(replace(CALL, **change))[1]) == rules


def test_two_rules_that_ask_for_different_things_refuse() -> None:
    chosen = [pack(name) for name in ("base", "gdpr")]
    given = {"base": {"redact": ["search"]}, "gdpr": {"pseudonymise": ["search"]}}
    texts = {one.name: one.policy for one in chosen}
    both = load(texts, schema(schema_text(), chosen), PURPOSES, filled(chosen, given))
    book, rules = refused(policy=both)
    assert sorted(rules) == ["gdpr.pseudonymise", "privacy.redact"]
    assert book.entries[0][1].obligations == ()


@pytest.mark.parametrize(
    "payload",
    [
        Payload.checked({"ann@example.com": "a text"}),
        Payload.checked({"texts": [4111111111111111]}),
        Payload.checked({"texts": ["a text"]}, {"ann@example.com.png": b""}),
        Payload.checked({"texts": ["ann@example.com"], "ann@example.com": 1}),
    ],
)
def test_what_cannot_be_masked_is_refused(payload: Payload) -> None:
    book, rules = refused(payload=payload)
    assert rules == ["privacy.redact"]
    assert book.entries[0][0].sanitised is None
    assert book.entries[0][1].obligations == (Obligation(kind="redact"),)


def test_pseudonyms_need_a_person() -> None:
    call = replace(CALL, purpose="study", basis="contract")
    assert refused(call, pseudonymise=None)[1] == ["gdpr.pseudonymise"]


def test_pseudonyms_that_cannot_be_made_end_the_call() -> None:
    def failing(*_: object) -> str:
        raise Failed("disk", "no salt")

    book = Book()
    call = replace(CALL, purpose="study", basis="contract")
    with pytest.raises(Failed):
        gate(POLICY, MODEL, call, EMAIL, book, redeem_never, pseudonymise=failing)
    assert book.entries == []


def redeem_never(grant: Grant) -> None:
    raise AssertionError("it ran")


@pytest.mark.parametrize("kind", ["redact", "pseudonymise"])
def test_a_caller_cannot_say_that_it_was_done(kind: Any) -> None:
    """A fact that came with the call counts for nothing."""
    claimed = replace(CALL, purpose="study", basis="contract", sanitised=Sanitised(kind=kind, data=frozenset()))
    book, redeemed, _ = ran(claimed)
    assert "ann@example.com" not in str(redeemed)
    assert book.entries[0][0].sanitised == Sanitised(kind="pseudonymise", data=frozenset({"email"}))


def test_other_actions_are_not_answered_by_it() -> None:
    """What a compression works on does not come from its payload."""
    assert refused(replace(CALL, action="train"))[1] == ["privacy.basis"]


OK = Finding(rule="a.allow", ok=True, reason="Everything is allowed here.")
NO = Finding(rule="a.forbid", ok=False, reason="Nothing is allowed here.")
DIGEST = "0" * 64


class Scripted:
    """A policy that gives these decisions in turn."""

    digest = DIGEST

    def __init__(self, *decisions: Decision) -> None:
        self.decisions = list(decisions)
        self.asked: list[Call] = []

    def decide(self, model: Manifest, call: Call) -> Decision:
        self.asked.append(call)
        return self.decisions.pop(0)


def decision(allowed: bool, *kinds: Any, policy: str = DIGEST) -> Decision:
    return Decision(
        allowed=allowed,
        findings=(OK if allowed else NO,),
        policy=policy,
        obligations=tuple(Obligation(kind=kind) for kind in kinds),
    )


def code(run: Callable[[], object]) -> str:
    with pytest.raises(Ungated) as caught:
        run()
    return caught.value.code


def test_the_second_decision_counts() -> None:
    scripted = Scripted(decision(False, "redact"), decision(False))
    book, _ = refused(policy=scripted)
    assert [one.sanitised is None for one in scripted.asked] == [True, False]
    assert book.entries[0][0] == scripted.asked[1]


def test_nothing_is_done_twice() -> None:
    scripted = Scripted(decision(False, "redact"), decision(False, "pseudonymise"))
    refused(policy=scripted)
    assert len(scripted.asked) == 2


@pytest.mark.parametrize("first", [True, False])
def test_what_an_allowing_decision_asks_for_is_done_or_nothing_runs(first: bool) -> None:
    """No policy of ours gives such a decision."""
    _, redeemed, _ = ran(policy=Scripted(decision(True, "redact"), decision(True, "redact")))
    assert redeemed.value == MASKED
    scripted = Scripted(decision(first, "redact"), decision(True, "pseudonymise"))
    book = Book()
    assert code(lambda: decide_and_open(scripted, MODEL, CALL, EMAIL, book)) == "grant_outdated"
    named = Payload.checked({"texts": ["a"]}, {"ann@example.com.png": b""})
    assert code(lambda: decide_and_open(Scripted(decision(True, "redact")), MODEL, CALL, named, book)) == (
        "grant_outdated"
    )
    assert book.entries == []


def test_a_second_decision_of_another_policy_does_not_count() -> None:
    scripted = Scripted(decision(False, "redact"), decision(True, policy="1" * 64))
    assert code(lambda: decide_and_open(scripted, MODEL, CALL, EMAIL, Book())) == "grant_outdated"
