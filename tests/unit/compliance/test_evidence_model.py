"""The evidence that reports and controls are made from: what is asked of it by what it is about."""

from __future__ import annotations

from tests.evidences import a_call, evidence, told


def test_what_was_told_is_found_by_its_kind_and_from_before_the_period_first() -> None:
    given, erased, held = told(5, "consent_given", receipt="ab"), told(7, "erased", rows=2), told(8, "held", rows=1)
    early = told(1, "retained", rows=3)
    found = evidence(notes=(given, erased, held), earlier=(early,))
    assert found.erasures == (early, erased)
    assert found.consents == (given,)
    assert found.holds == (held,)
    assert found.declarations == found.overrides == found.loads == ()


def test_the_made_up_one_agrees_with_itself() -> None:
    found = evidence(calls=(a_call(1), a_call(3), a_call(5, allowed=False)))
    [span] = found.spans
    assert span.records == 4
    assert (span.last.allowed, span.last.refused) == (2, 1)
    assert {call.policy for call in found.calls} <= {policy.digest for policy in found.policies}
    assert {call.call.model for call in found.calls} <= {model.digest for model in found.models}
