"""The record of processing: what is declared, what was observed, and where they differ."""

from __future__ import annotations

from typing import Any

from msgspec import structs

from compliance.evidence.model import Evidence, OpenedCall, PolicyText
from compliance.report.audit.contents import Inputs
from compliance.report.audit.formats import written
from compliance.report.audit.made import made
from compliance.report.audit.processing import Difference, processing
from compliance.report.audit.recount import recount
from policies.facts import Purpose
from tests.evidences import POLICY, a_call, evidence


def period(*calls: OpenedCall, parameters: dict[str, dict[str, Any]] | None = None) -> Evidence:
    purposes = {
        "search": Purpose(bases=frozenset({"contract"}), retain_days=30, data=frozenset({"email"})),
        "triage": Purpose(bases=frozenset({"consent"}), retain_days=200, recipients=("ward",)),
    }
    policy = PolicyText(digest=POLICY, texts={}, purposes=purposes, parameters=parameters or {})
    return evidence(calls=calls, policies=(policy,))


def differences(found: Evidence, purpose: str) -> dict[tuple[str, str], tuple[str, ...]]:
    [one] = [one for one in processing(found) if one.purpose == purpose]
    return {(different.kind, different.value): different.calls.leaves for different in one.differences}


def test_what_is_as_declared_has_no_difference_and_what_nobody_used_is_listed() -> None:
    found = processing(period(a_call(1, data=frozenset({"email"}), basis="contract"), a_call(3, allowed=False)))
    assert [(one.purpose, one.declared, one.observed.value) for one in found] == [
        ("search", True, 1),
        ("triage", True, 0),
    ]
    search, triage = found
    assert search.differences == ()
    assert (search.bases, search.observed_bases) == (("contract",), ("contract",))
    assert (search.retain_days, triage.recipients) == (30, ("ward",))


def test_each_difference_names_its_calls() -> None:
    found = period(
        a_call(1, basis="consent"),
        a_call(3, data=frozenset({"health"}), detected=frozenset({"name"})),
        a_call(5, retain_days=31),
        a_call(7, region="DE", host="US"),
        a_call(9, purpose="gossip"),
        a_call(11, purpose=None),
    )
    assert differences(found, "search") == {
        ("undeclared_basis", "consent"): ("shard-000/1",),
        ("undeclared_data", "health"): ("shard-000/3",),
        ("undeclared_data", "name"): ("shard-000/3",),
        ("kept_longer", "31 > 30"): ("shard-000/5",),
        ("transferred", "DE → US"): ("shard-000/7",),
    }
    assert differences(found, "gossip") == {("undeclared_purpose", ""): ("shard-000/9",)}
    assert differences(found, "") == {("undeclared_purpose", ""): ("shard-000/11",)}


def test_laws_that_disagree_on_retention_are_told() -> None:
    call = a_call(1, data=frozenset({"email"}))
    short: dict[str, dict[str, Any]] = {"ai_act": {"high_risk": ["search"]}, "gdpr": {"retain_days": 90}}
    assert differences(period(call, parameters=short), "search") == {("laws_disagree", ""): ("shard-000/1",)}
    long: dict[str, dict[str, Any]] = {**short, "gdpr": {"retain_days": 184}}
    assert differences(period(call, parameters=long), "search") == {}
    assert differences(period(call, parameters={"gdpr": {"retain_days": 90}}), "search") == {}


def test_it_stands_in_the_report_and_is_counted_again() -> None:
    found = period(a_call(1, purpose="<b>gossip</b>"))
    inputs = Inputs(profile="gdpr", lang="en", made=10**18, version="0.1.0", witnessed=True)
    contents = made(found, inputs)
    assert contents.processing[0].differences == (
        Difference(kind="undeclared_purpose", value="", calls=contents.processing[0].differences[0].calls),
    )
    assert {one.id for one in contents.figures()} >= {"processing.<b>gossip</b>", "processing.triage"}
    page = written(contents, "html")
    assert b"calls for a purpose that is not declared" in page
    assert b"<b>gossip" not in page
    assert recount(page, "html", found) == contents
    assert structs.replace(contents, processing=()) != contents
