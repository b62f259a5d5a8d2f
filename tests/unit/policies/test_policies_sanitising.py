"""A payload without its personal data keeps its form, and what cannot be taken out of it is not."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from policies.facts import Call, Decision, Finding, Obligation, Sanitised
from policies.payload import MAX_CHARACTERS, Payload
from policies.privacy import Detected, categories, scan
from policies.privacy.redaction import MASK, MAX_PASSES
from policies.sanitising import sanitised, undone

EMAIL, CARD = "ann@example.com", "4111 1111 1111 1111"
NO = Finding(rule="a.rule", ok=False, reason="This is asked for.")
CALL = Call(id="c", at=1, actor="a", tenant="t", action="infer", model="ab" * 32)


def lettered(text: str, findings: Iterable[Detected]) -> str:
    """Pseudonyms that are no secret."""
    for one in sorted(findings, key=lambda one: -one.start):
        text = f"{text[: one.start]}\u27e8{one.category}:{'b' * 32}\u27e9{text[one.end :]}"
    return text


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"texts": [f"write to {EMAIL}, please", "the ward"]}, {"texts": [f"write to {MASK}, please", "the ward"]}),
        ({"texts": [EMAIL]}, {"texts": [MASK]}),
        ({"texts": [CARD, CARD, "a"]}, {"texts": [MASK, MASK, "a"]}),
        ([[{"to": [EMAIL, 7, None, True, 0.5]}]], [[{"to": [MASK, 7, None, True, 0.5]}]]),
        (EMAIL, MASK),
        ({"texts": ["nothing"]}, {"texts": ["nothing"]}),
        ("a\\nb@example.com\\nc", f"a\\n{MASK}\\nc"),
    ],
)
def test_texts_are_masked_where_they_stand(value: Any, expected: Any) -> None:
    clean = sanitised("redact", Payload.checked(value, {"image": b"\x00" + EMAIL.encode()}), None)
    assert clean is not None
    assert clean.value == expected
    assert clean.blobs == {"image": b"\x00" + EMAIL.encode()}  # nobody reads in bytes


@pytest.mark.parametrize("kind", ["redact", "pseudonymise"])
@pytest.mark.parametrize(
    ("value", "blobs"),
    [
        ({EMAIL: "a text"}, {}),
        ({"texts": ["a text", 4111111111111111]}, {}),
        ({"texts": [4111111111111111.0]}, {}),
        ({"texts": ["a text"]}, {f"{EMAIL}.png": b""}),
    ],
)
def test_what_is_no_text_cannot_be_taken_out(kind: Any, value: Any, blobs: dict[str, bytes]) -> None:
    payload = Payload.checked(value, blobs)
    assert categories(payload.texts())
    assert sanitised(kind, payload, lettered) is None


def test_pseudonyms_stand_where_the_findings_stood() -> None:
    clean = sanitised("pseudonymise", Payload.checked({"texts": [f"{EMAIL} and {CARD}", "the ward"]}), lettered)
    assert clean is not None
    token = "b" * 32
    assert clean.value == {"texts": [f"\u27e8email:{token}\u27e9 and \u27e8card:{token}\u27e9", "the ward"]}


def test_nobody_makes_pseudonyms_of_nobody() -> None:
    assert sanitised("pseudonymise", Payload.checked([EMAIL]), None) is None
    clear = Payload.checked(["nothing to be seen"])
    assert sanitised("pseudonymise", clear, None) == clear


def test_pseudonyms_that_leave_something_do_not_count() -> None:
    assert sanitised("pseudonymise", Payload.checked([EMAIL]), lambda text, _: text) is None
    assert sanitised("pseudonymise", Payload.checked([EMAIL]), lambda text, _: "bob@example.com") is None


def test_pseudonyms_that_make_it_too_large_do_not_count() -> None:
    payload = Payload.checked(["x" * (MAX_CHARACTERS - len(EMAIL) - 1) + " " + EMAIL])
    assert sanitised("pseudonymise", payload, lettered) is None
    assert sanitised("redact", payload, lettered) is not None


@pytest.mark.parametrize(
    "text",
    [
        "+49 30 1234567 4111 1111 1111 1111 ann@example.com",
        "password=a1b2c3d4e5 and +1 415 555 2671",
        "card 4111 1111 1111 1111/030 phone 030 1234567",
        "born 12.03.1980, SSN 536-22-1234 533380006",
    ],
)
def test_what_comes_to_light_beside_a_pseudonym_gets_one_too(text: str) -> None:
    clean = sanitised("pseudonymise", Payload.checked([text]), lettered)
    assert clean is not None
    assert categories(clean.texts()) == frozenset()


@pytest.mark.parametrize("kind", ["redact", "pseudonymise"])
def test_a_text_that_shows_one_more_each_time_costs_a_few_passes(kind: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Masked one after the other, a megabyte of this would take days."""
    scans = 0

    def counted(text: str) -> list[Detected]:
        nonlocal scans
        scans += 1
        return scan(text)

    monkeypatch.setattr("policies.privacy.redaction.scan", counted)
    monkeypatch.setattr("policies.sanitising.scan", counted)
    clean = sanitised(kind, Payload.checked(["+4930123456" * 200, "the ward"]), lettered)
    assert scans < 2 * (MAX_PASSES + 2)
    if kind == "redact":
        assert clean is not None
        assert clean.value == [MASK, "the ward"]
    else:
        assert clean is None


@pytest.mark.parametrize(
    ("kinds", "done", "expected"),
    [
        ([], None, None),
        (["redact"], None, "redact"),
        (["attribution", "pseudonymise"], None, "pseudonymise"),
        (["attribution", "ai_notice"], None, None),
        (["redact"], "redact", None),
        (["redact"], "pseudonymise", "redact"),
    ],
)
def test_what_a_decision_leaves_undone(kinds: list[Any], done: Any, expected: str | None) -> None:
    call = CALL if done is None else Call(**{**_fields(CALL), "sanitised": Sanitised(kind=done, data=frozenset())})
    decision = Decision(
        allowed=False, findings=(NO,), policy="p", obligations=tuple(Obligation(kind=kind) for kind in kinds)
    )
    assert undone(decision, call) == expected


def _fields(call: Call) -> dict[str, Any]:
    return {name: getattr(call, name) for name in call.__struct_fields__}
