"""A detector before the decision: what it finds is a fact, what it could not look at does not run, and nobody can
leave it out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from msgspec.structs import replace

from policies.cedar import Engine, filled, load, schema
from policies.errors import Denied, Failed, Ungated
from policies.facts import Call, Purpose
from policies.gate import Grant, gate
from policies.payload import InputError, Payload
from policies.privacy import Detected
from tests.unit.policies.test_policies_gate import CALL, MODEL, Book
from toolkit.policy import pack, schema_text

NAMED = Payload.checked({"texts": ["Anna Schmidt", "is in the ward"]})


def policy(*packs: str) -> Engine:
    purposes = {name: Purpose(bases=frozenset({"contract"}), retain_days=30) for name in ("support", "triage")}
    chosen = [pack(name) for name in packs]
    parameters = filled(chosen, {"gdpr": {"detected": ["triage"]}} if "gdpr" in packs else {})
    return load({one.name: one.policy for one in chosen}, schema(schema_text(), chosen), purposes, parameters)


POLICY = policy("base", "gdpr", "licence")


class Detecting:
    """Finds whatever begins with a capital, or does something else instead."""

    digest = "ef" * 32

    def __init__(self, instead: Callable[[], Any] | None = None) -> None:
        self.instead = instead
        self.calls: list[Call] = []

    def scan(self, texts: Sequence[str], call: Call) -> Any:
        self.calls.append(call)
        if self.instead is not None:
            return self.instead()
        person = Detected(start=0, end=1, category="person_name", confidence=0.9)
        return [[person] if text[0].isupper() else [] for text in texts]


def raising(error: BaseException) -> Callable[[], Any]:
    def instead() -> Any:
        raise error

    return instead


def run(
    book: Book, *detectors: Detecting, by: Engine = POLICY, payload: Payload = NAMED, **changed: Any
) -> list[Grant]:
    """The grants under which the work was done."""
    ran: list[Grant] = []
    call = replace(CALL, **{"detector": Detecting.digest, **changed})
    gate(by, MODEL, call, payload, book, ran.append, detectors)
    return ran


def test_what_a_detector_finds_is_a_fact_and_by_itself_no_reason_to_refuse() -> None:
    book, detecting = Book(), Detecting()
    assert len(run(book, detecting)) == 1
    call, decision, payload = book.entries[0]
    assert (call.detected, call.data, call.unseen) == (frozenset({"person_name"}), frozenset(), False)
    assert decision.allowed
    assert payload is NAMED
    assert [one.id for one in detecting.calls] == [CALL.id]


def test_where_the_settings_say_so_it_counts() -> None:
    book = Book()
    with pytest.raises(Denied) as caught:
        run(book, Detecting(), purpose="triage")
    call, decision, payload = book.entries[0]
    assert [one.rule for one in decision.findings if not one.ok] == ["gdpr.detected"]
    assert (call.detected, payload) == (frozenset({"person_name"}), Payload(value=None))
    assert "Anna" not in str(caught.value)
    assert len(run(Book(), Detecting(), purpose="triage", basis="contract")) == 1
    assert len(run(Book(), Detecting(), purpose="triage", payload=Payload.checked(["the ward"]))) == 1


def test_what_is_refused_anyway_is_not_looked_at() -> None:
    book, detecting = Book(), Detecting()
    with pytest.raises(Denied):
        run(book, detecting, purpose=None)
    assert detecting.calls == []
    call, decision, _ = book.entries[0]
    assert [one.rule for one in decision.findings if not one.ok] == ["purpose.stated"]
    assert (call.detected, call.unseen) == (frozenset(), False)


@pytest.mark.parametrize(
    "instead",
    [
        raising(ValueError("x")),
        raising(InputError("input_too_large", "x")),
        raising(MemoryError()),
        raising(Denied((), "id", "refused")),
        lambda: [],
        lambda: [[Detected(start=0, end=99, category="person_name", confidence=1.0)], []],
        lambda: None,
    ],
)
def test_what_a_detector_could_not_look_at_is_refused_on_record(instead: Callable[[], Any]) -> None:
    book = Book()
    with pytest.raises(Denied) as caught:
        run(book, Detecting(instead))
    call, decision, payload = book.entries[0]
    assert [one.rule for one in decision.findings if not one.ok] == ["base.detector"]
    assert caught.value.findings == decision.findings
    assert (call.unseen, call.detected, payload) == (True, frozenset(), Payload(value=None))


def test_a_disk_that_takes_no_record_of_the_look_is_no_refusal() -> None:
    book = Book()
    with pytest.raises(Failed):
        run(book, Detecting(raising(Failed("disk", "no space"))))
    assert book.entries == []


def test_a_policy_that_would_let_it_pass_unseen_does_not() -> None:
    book = Book()
    text = b'@id("own.all") @reason("Everything is allowed.") permit (principal, action, resource);'
    by = load({"own": text}, schema(schema_text(), []), {})
    assert len(run(Book(), Detecting(), by=by)) == 1
    with pytest.raises(Ungated) as caught:
        run(book, Detecting(raising(ValueError())), by=by)
    assert (caught.value.code, book.entries) == ("detector_missing", [])


def test_nobody_can_leave_out_the_detector_that_a_call_names() -> None:
    book = Book()
    with pytest.raises(Ungated) as caught:
        run(book)
    assert (caught.value.code, book.entries) == ("detector_missing", [])
    with pytest.raises(Ungated):
        run(book, Detecting(), detector="another")


def test_a_scan_keeps_no_payload() -> None:
    book = Book()
    [grant] = run(book, action="scan", detector=None, scan_of="c0")
    call, decision, payload = book.entries[0]
    assert decision.allowed
    assert (call.scan_of, payload) == ("c0", Payload(value=None))
    assert book.outcomes[0][1].ok
    del grant
