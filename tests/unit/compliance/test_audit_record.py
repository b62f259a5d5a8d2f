"""The record of processing: for whom, to whom, where, how long and how safe, and what a person has to be asked."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from msgspec import structs

from compliance.controls.answers import Answer, signed
from compliance.controls.catalogue import catalogue
from compliance.evidence.model import Box, Evidence, OpenedCall, PolicyText, Unread
from compliance.report.audit.contents import Contents, Inputs
from compliance.report.audit.formats import written
from compliance.report.audit.made import made
from compliance.report.audit.record import Record
from compliance.report.audit.recount import recount
from compliance.report.audit.words import words
from policies.facts import Override, Purpose, Sanitised
from tests.evidences import POLICY, a_call, evidence
from tests.forge import signer

HOSTILE = "<script>alert(1)</script>"
INPUTS = Inputs(profile="gdpr", lang="en", made=1_795_000_000 * 10**9, version="0.1.0", witnessed=True)


def period(*calls: OpenedCall, **changes: Any) -> Evidence:
    purposes = {
        "search": Purpose(bases=frozenset({"contract"}), retain_days=30),
        "triage": Purpose(bases=frozenset({"consent"}), retain_days=200, recipients=("ward", "registry")),
    }
    policy = PolicyText(digest=POLICY, texts={}, purposes=purposes, parameters={})
    return evidence(calls=calls, policies=(policy,), **changes)


def record(contents: Contents) -> Record:
    assert isinstance(contents.record, Record)
    return contents.record


def rows(of: Record, table: str) -> dict[str, tuple[float, ...]]:
    [found] = [one for one in of.tables if one.id == f"record_{table}"]
    return {row.name: tuple(figure.value for figure in row.figures) for row in found.rows}


def test_it_counts_tenants_recipients_transfers_and_days_over_calls_that_ran() -> None:
    calls = (
        a_call(1, tenant="north", retain_days=30),
        a_call(3, tenant="south", purpose="triage", retain_days=200, region="DE", host="US"),
        a_call(5, tenant="south", purpose="triage", retain_days=9, region="DE", host="DE"),
        a_call(7, tenant="west", allowed=False),
        a_call(9, tenant="east", action="export"),
    )
    of = record(made(period(*calls), INPUTS))
    assert rows(of, "tenants") == {"north": (1,), "south": (2,)}
    assert rows(of, "recipients") == {"registry": (2,), "ward": (2,)}
    assert rows(of, "transfers") == {"DE → US": (1,)}
    assert list(rows(of, "kept").items()) == [("9", (1,)), ("30", (1,)), ("200", (1,))]
    assert of.declared == {"name": "clinic", "tenant": "clinic"}


def test_measures_say_how_many_calls_they_protected_of_those_that_they_are_about() -> None:
    two = Override(id="a" * 16, name="emergency", approvers=frozenset({"ann", "bob"}))
    one = structs.replace(two, approvers=frozenset({"ann"}))
    calls = (
        a_call(1, sealed=True, signer="ed25519:x", subject="p"),
        a_call(3, data=frozenset({"email"}), override=two),
        a_call(5, sanitised=Sanitised(kind="redact", data=frozenset({"email"})), override=one),
        a_call(7, allowed=False),
        structs.replace(a_call(9), rules=()),
    )
    assert rows(record(made(period(*calls), INPUTS)), "measures") == {
        "measure_asked": (4, 5),
        "measure_sealed": (1, 5),
        "measure_signed": (1, 4),
        "measure_pseudonym": (1, 1),
        "measure_taken_out": (1, 2),
        "measure_override": (1, 2),
    }
    for name in rows(record(made(period(*calls), INPUTS)), "measures"):
        assert words("en")[name] != words("zh")[name]


def test_what_no_leaf_has_is_a_question_with_the_answer_of_a_person() -> None:
    every = record(made(period(a_call(1)), INPUTS)).asked
    assert [one.at for one in every] == [
        "Art. 30(1)(a)", "Art. 30(1)(c)", "Art. 30(1)(d)", "Art. 30(1)(e)", "Art. 30(1)(g)", "Art. 30(2)(a)",
    ]  # fmt: skip
    assert all(one.answered is None and one.question for one in every)
    assert {one.control for one in every} <= {one.id for one in catalogue().of("gdpr")}
    answer = Answer(
        control="gdpr-record-who",
        journal="12" * 16,
        says="met",
        text="The clinic.",
        name="Dr. A. Weber",
        role="DPO",
        at=1,
    )
    inputs = structs.replace(INPUTS, answers=(signed(answer, signer("root")),), profile="licence")
    contents = made(period(a_call(1)), inputs)
    first = record(contents).asked[0]
    assert first.answered is not None
    assert (first.answered.text, first.answered.name) == ("The clinic.", "Dr. A. Weber")
    page = written(contents, "html").decode()
    assert "The clinic." in page
    assert page.count("<strong>open</strong>") == 5


def test_the_role_stands_at_the_top_as_a_person_said_it_or_as_what_is_asked() -> None:
    of = period(a_call(1))
    open_ = written(made(of, INPUTS), "html").decode()
    assert words("en")["role_open"] in open_[: open_.index("<main>")]
    answer = Answer(
        control="gdpr-processor", journal="12" * 16, says="met", text="For itself.", name="Ann", role="DPO", at=1
    )
    told = structs.replace(INPUTS, answers=(signed(answer, signer("root")),))
    page = written(made(of, told), "html").decode()
    assert "For itself. (Answered by Ann, DPO)" in page[: page.index("<main>")]


def test_it_is_shown_in_either_language_and_counted_again() -> None:
    box = Box(
        journal="12" * 16, root=evidence().box.root, made="", declared={"name": HOSTILE, "tls": "yes", HOSTILE: "x"}
    )
    of = period(a_call(1, tenant=HOSTILE, purpose="triage", region="DE", host="US"), box=box)
    for lang in ("en", "zh"):
        contents = made(of, structs.replace(INPUTS, lang=lang))
        page = written(contents, "html")
        assert recount(page, "html", of) == contents
        assert "<script" not in page.decode()
        for table in record(contents).tables:
            assert words(lang)[table.title] in page.decode()


@pytest.mark.parametrize("why", ["erased", "other_auditor", "not_released"])
def test_why_records_are_sealed_is_said_in_words(why: Any) -> None:
    of = period(a_call(1), unread=(Unread(why=why, noted=2),))
    for lang in ("en", "zh"):
        page = written(made(of, structs.replace(INPUTS, lang=lang)), "html").decode()
        assert f">{words(lang)[f'unread_{why}']}</th>" in page


def test_a_table_without_end_is_summed_up() -> None:
    of = record(made(period(*(a_call(2 * n + 1, tenant=f"t{n:03}") for n in range(45))), INPUTS))
    found = rows(of, "tenants")
    assert len(found) == 41
    assert found["…"] == (5,)


def test_a_report_of_before_has_none_and_stays_readable() -> None:
    contents = made(period(a_call(1)), INPUTS)
    older = msgspec.to_builtins(contents)
    for name in ("record", "retention", "more_events"):
        older.pop(name, None)
    read = msgspec.convert(older, Contents)
    assert not read.record
    assert "record.tenants.clinic" not in {one.id for one in read.figures()}
    assert "record.tenants.clinic" in {one.id for one in contents.figures()}
