"""The only door: no record, no run; a refusal is recorded without its payload; a grant is worth one run."""

from __future__ import annotations

import gc
from collections.abc import Callable
from threading import Barrier, Thread
from typing import Any

import pytest
from msgspec.structs import replace

from policies.cedar import Engine, filled, load, schema
from policies.errors import Denied, Failed, Ungated
from policies.facts import Action, Call, Decision, Finding, Manifest, Outcome, Purpose
from policies.gate import Grant, charge, close, covers, decide_and_open, gate, redeem
from policies.payload import InputError, Payload
from toolkit.policy import pack, schema_text

MODEL = Manifest(format=1, name="m", version="1", digest="ab" * 32, task="embed", licence="MIT", inputs=(), outputs=())
OTHER = "cd" * 32
CALL = Call(
    id="c1",
    at=1,
    actor="ann",
    tenant="t",
    action="infer",
    model=MODEL.digest,
    purpose="support",
    signer="s",
    sealed=True,
)
PAYLOAD = Payload.checked(["a text without personal data"])
EMAIL = Payload.checked([{"to": ["ann@example.com"]}])


class Book:
    """A ledger in memory, which may be told to fail."""

    sealed = True

    def __init__(self, failing: str = "") -> None:
        self.failing = failing
        self.entries: list[tuple[Call, Decision, Payload]] = []
        self.outcomes: list[tuple[int, Outcome]] = []

    def opened(self, call: Call, model: Manifest, decision: Decision, payload: Payload) -> int:
        if self.failing == "opened":
            raise Failed("disk", "no space")
        assert call.model == model.digest
        self.entries.append((call, decision, payload))
        return len(self.entries) - 1

    def noted(self, entry: int, kind: str, data: dict[str, Any], payload: Payload | None = None) -> None:
        raise AssertionError("the gate itself notes nothing")

    def closed(self, entry: int, outcome: Outcome) -> None:
        if self.failing == "closed":
            raise Failed("disk", "no space")
        self.outcomes.append((entry, outcome))


def policy() -> Engine:
    purposes = {"support": Purpose(bases=frozenset({"contract"}), retain_days=30)}
    chosen = [pack("base"), pack("licence")]
    texts = {one.name: one.policy for one in chosen}
    return load(texts, schema(schema_text(), chosen), purposes, filled(chosen, {}))


POLICY = policy()


def opened(action: Action = "infer", book: Book | None = None) -> Grant:
    return decide_and_open(POLICY, MODEL, replace(CALL, action=action), PAYLOAD, book or Book())


def code(run: Callable[[], object]) -> str:
    with pytest.raises(Ungated) as caught:
        run()
    return caught.value.code


def test_an_allowed_call_runs_on_the_recorded_payload_and_is_closed() -> None:
    book = Book()

    def work(grant: Grant) -> str:
        assert len(book.entries) == 1
        assert book.outcomes == []
        assert redeem(grant, MODEL.digest, POLICY.digest) is PAYLOAD
        assert grant.payload is PAYLOAD
        assert grant.call == CALL
        charge(grant, tokens=3, texts=1)
        charge(grant, tokens=4)
        return "done"

    assert gate(POLICY, MODEL, CALL, PAYLOAD, book, work) == "done"
    call, decision, payload = book.entries[0]
    assert (call, payload) == (CALL, PAYLOAD)
    assert decision.allowed
    assert book.outcomes == [(0, Outcome(ok=True, usage={"tokens": 7, "texts": 1}))]


def test_a_refused_call_is_recorded_without_its_payload_and_never_runs() -> None:
    book = Book()
    ran: list[Grant] = []
    with pytest.raises(Denied) as caught:
        gate(POLICY, MODEL, CALL, EMAIL, book, ran.append)
    call, decision, payload = book.entries[0]
    assert payload == Payload(value=None)
    assert call.data == {"email"}
    assert not decision.allowed
    assert caught.value.findings == decision.findings
    assert caught.value.call == CALL.id
    assert "ann@example.com" not in str(caught.value)
    assert "legal basis" in str(caught.value)
    assert (ran, book.outcomes) == ([], [])


def test_what_the_caller_says_was_found_is_kept_and_added_to() -> None:
    book = Book()
    call = replace(CALL, basis="contract", data=frozenset({"health"}))
    gate(POLICY, MODEL, call, EMAIL, book, lambda grant: redeem(grant, MODEL.digest, POLICY.digest))
    assert book.entries[0][0].data == {"email", "health"}


@pytest.mark.parametrize(
    "payload",
    [
        Payload.checked({"ann@example.com": 1}),
        Payload.checked(4111111111111111),
        Payload.checked(None, {"ann@example.com.png": b""}),
        Payload.checked([[["+49 30 1234567"]]]),
    ],
)
def test_keys_numbers_and_names_of_blobs_are_scanned(payload: Payload) -> None:
    with pytest.raises(Denied):
        gate(POLICY, MODEL, CALL, payload, Book(), lambda grant: None)


@pytest.mark.parametrize("payload", [PAYLOAD, EMAIL])
def test_without_a_record_nothing_runs(payload: Payload) -> None:
    ran: list[Grant] = []
    with pytest.raises(Failed):
        gate(POLICY, MODEL, CALL, payload, Book("opened"), ran.append)
    assert ran == []


def test_without_a_record_of_the_outcome_there_is_no_answer() -> None:
    ran: list[Grant] = []
    with pytest.raises(Failed):
        gate(POLICY, MODEL, CALL, PAYLOAD, Book("closed"), ran.append)
    assert len(ran) == 1
    assert code(lambda: ran[0].payload) == "grant_missing"


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (InputError("input_empty", "no text"), "input_empty"),
        (ValueError("boom"), "internal"),
        (KeyboardInterrupt(), "internal"),
    ],
)
def test_a_failure_is_recorded_and_goes_on(error: BaseException, expected: str) -> None:
    book = Book()

    def work(grant: Grant) -> None:
        charge(grant, tokens=2)
        raise error

    with pytest.raises(type(error)) as caught:
        gate(POLICY, MODEL, CALL, PAYLOAD, book, work)
    assert caught.value is error
    assert book.outcomes == [(0, Outcome(ok=False, code=expected, usage={"tokens": 2}))]


def test_work_that_closes_its_own_grant_gives_no_answer() -> None:
    book = Book()
    assert code(lambda: gate(POLICY, MODEL, CALL, PAYLOAD, book, close)) == "grant_missing"
    assert len(book.outcomes) == 1


def test_a_grant_serves_one_run() -> None:
    grant = opened()
    redeem(grant, MODEL.digest, POLICY.digest)
    assert code(lambda: redeem(grant, MODEL.digest, POLICY.digest)) == "grant_spent"


def test_a_grant_serves_one_of_many_threads() -> None:
    grant, barrier = opened(), Barrier(8)
    results: list[str] = []

    def run() -> None:
        barrier.wait()
        try:
            redeem(grant, MODEL.digest, POLICY.digest)
        except Ungated as error:
            results.append(error.code)
        else:
            results.append("ran")

    threads = [Thread(target=run) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == ["grant_spent"] * 7 + ["ran"]


@pytest.mark.parametrize("action", ["compress"])
def test_a_grant_to_compress_covers_what_is_derived_under_it(action: Action) -> None:
    grant = opened(action)
    for _ in range(3):
        redeem(grant, MODEL.digest, POLICY.digest)
    assert code(lambda: redeem(grant, OTHER, POLICY.digest)) == "grant_other_model"
    covers(grant, OTHER)
    assert redeem(grant, OTHER, POLICY.digest) is PAYLOAD
    assert code(lambda: redeem(grant, OTHER, "0" * 64)) == "grant_outdated"
    close(grant)
    assert code(lambda: redeem(grant, OTHER, POLICY.digest)) == "grant_missing"


@pytest.mark.parametrize("action", ["infer", "scan", "measure"])
def test_another_grant_covers_one_model(action: Action) -> None:
    grant = opened(action)
    assert code(lambda: covers(grant, OTHER)) == "grant_other_model"
    assert code(lambda: redeem(grant, OTHER, POLICY.digest)) == "grant_other_model"
    redeem(grant, MODEL.digest, POLICY.digest)


def test_a_grant_does_not_outlive_its_policy() -> None:
    grant = opened()
    assert code(lambda: redeem(grant, MODEL.digest, "0" * 64)) == "grant_outdated"


@pytest.mark.parametrize("forged", [Grant(), None, object(), "grant", 7])
def test_a_forged_grant_is_not_honoured(forged: Any) -> None:
    assert code(lambda: redeem(forged, MODEL.digest, POLICY.digest)) == "grant_missing"
    assert code(lambda: covers(forged, OTHER)) == "grant_missing"
    assert code(lambda: charge(forged, tokens=1)) == "grant_missing"
    assert code(lambda: close(forged)) == "grant_missing"


def test_a_grant_holds_nothing_that_could_be_altered() -> None:
    grant = opened()
    for name in ("payload", "call", "policy", "spent"):
        with pytest.raises(AttributeError):
            setattr(grant, name, "x")


def test_a_closed_grant_is_worth_nothing() -> None:
    book = Book()
    grant = opened(book=book)
    close(grant)
    assert code(lambda: redeem(grant, MODEL.digest, POLICY.digest)) == "grant_missing"
    assert code(lambda: close(grant)) == "grant_missing"
    assert len(book.outcomes) == 1


def test_a_grant_that_is_dropped_leaves_its_call_open() -> None:
    """The journal then shows a call without an outcome: that is what happened."""
    book = Book()
    opened(book=book)
    gc.collect()
    assert (len(book.entries), book.outcomes) == (1, [])


def test_a_call_for_another_model_is_not_even_decided() -> None:
    book = Book()
    assert code(lambda: gate(POLICY, MODEL, replace(CALL, model=OTHER), PAYLOAD, book, lambda grant: None)) == (
        "grant_other_model"
    )
    assert book.entries == []


class Unsound:
    """A policy that gives a fixed decision."""

    digest = "0" * 64

    def __init__(self, decision: Decision) -> None:
        self.decision = decision

    def decide(self, model: Manifest, call: Call) -> Decision:
        return self.decision


OK = Finding(rule="a.allow", ok=True, reason="Everything is allowed here.")


@pytest.mark.parametrize(
    "decision",
    [
        Decision(allowed=True, findings=(), policy="0" * 64),
        Decision(allowed=True, findings=(OK,), policy="1" * 64),
    ],
)
def test_a_decision_without_findings_or_of_another_policy_does_not_count(decision: Decision) -> None:
    book = Book()
    assert code(lambda: gate(Unsound(decision), MODEL, CALL, PAYLOAD, book, lambda grant: None)) == "grant_outdated"
    assert book.entries == []
