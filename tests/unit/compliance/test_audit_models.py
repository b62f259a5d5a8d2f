"""The model chain with its quality by slice, and what changed since the report before."""

from __future__ import annotations

import json
from typing import Any

import pytest
from msgspec import UNSET, structs

from compliance.evidence.model import Evidence, ModelPapers
from compliance.report.audit.changes import kept
from compliance.report.audit.contents import Inputs, Previous
from compliance.report.audit.formats import Format, written
from compliance.report.audit.made import made
from compliance.report.audit.recount import recount
from compliance.report.audit.words import words
from compliance.report.errors import ReportError
from tests.evidences import MODEL, a_call, evidence, told

INPUTS = Inputs(profile="ai-act", lang="en", made=1_795_000_000 * 10**9, version="0.1.0", witnessed=True)
SLICES: list[Any] = [
    {"name": "label negative", "items": 12, "mean": 0.97, "low": 0.951, "high": 0.99},
    {"name": "length 16-31", "items": 40, "mean": 0.999, "low": 0.998, "high": 1.0},
]


def period(slices: Any = SLICES, **changes: Any) -> Evidence:
    [papers] = evidence().models
    after = {**papers.measurements["after"], "slices": slices}
    papers = structs.replace(papers, measurements={**papers.measurements, "after": after})
    return evidence(models=(papers,), tests=(), **changes)


def test_quality_by_slice_stands_in_the_chain_with_its_bounds() -> None:
    [model] = made(period(), INPUTS).models
    assert [
        (one.slice, one.items.value, one.mean.value, one.low.value, one.high.value) for one in model.quality or ()
    ] == [
        ("label negative", 12, 0.97, 0.951, 0.99),
        ("length 16-31", 40, 0.999, 0.998, 1.0),
    ]
    assert {one.low.leaves for one in model.quality or ()} == {("shard-000/0",)}
    page = written(made(period(), INPUTS), "html").decode()
    assert "label negative" in page
    assert words("en")["quality_text"] in page


@pytest.mark.parametrize("form", ["html", "json", "oscal"])
def test_each_of_its_numbers_is_counted_again(form: Format) -> None:
    of = period()
    content = written(made(of, INPUTS), form).decode()
    start = content.index({"html": "<title>", "json": '"box"', "oscal": '"results"'}[form])
    assert recount(content.encode(), form, of)
    for number in ("0.951", "0.97", "0.99"):
        place = content.index(number, start)
        edited = content[:place] + "0.5" + content[place + len(number) :]
        with pytest.raises(ReportError) as refused:
            recount(edited.encode(), form, of)
        assert refused.value.code == "report_number"


@pytest.mark.parametrize(
    "slices", [None, "x", [], [1], [{}], [{"name": "a"}], [{**SLICES[0], "low": "0.9"}], [{**SLICES[0], "items": True}]]
)
def test_what_is_no_slice_is_left_out(slices: Any) -> None:
    [model] = made(period(slices), INPUTS).models
    assert model.quality is UNSET
    assert words("en")["no_quality"] in written(made(period(slices), INPUTS), "html").decode()


def test_names_of_slices_are_a_users_and_there_may_be_many() -> None:
    many = [{**SLICES[0], "name": f"<b>{n}"} for n in range(100)]
    contents = made(period(many), INPUTS)
    assert len(contents.models[0].quality or ()) == 64
    assert "<b>1" not in written(contents, "html").decode()


def test_a_model_or_a_policy_that_came_or_went_is_a_change() -> None:
    other, newer = "ba" * 32, "dc" * 32
    before = made(period(), INPUTS)
    call = structs.replace(a_call(1, model=other), model={"digest": other, "licence": "MIT"}, policy=newer)
    papers = ModelPapers(
        digest=other, record="shard-000/0", at=0, manifest={"name": "e5", "version": "2"}, measurements={}
    )
    now = made(evidence(calls=(call,), models=(papers,)), structs.replace(INPUTS, previous=kept(before)))
    changed = {one.about: (one.before, one.now) for one in now.changed}
    assert changed[f"model e5 2 {other}"] == ("", "seen")
    assert changed[f"model minilm 1 {MODEL}"] == ("seen", "")
    assert changed[f"policy {newer}"] == ("", "seen")
    page = written(now, "html").decode()
    assert f"<code>model e5 2 {other}</code>" in page
    assert json.loads(written(now, "json"))["changed"]


def test_a_report_of_before_that_kept_neither_says_no_model_came() -> None:
    older = Previous(made=1, kinds={}, values={"calls.all.allowed": 7})
    now = made(period(), structs.replace(INPUTS, previous=older))
    assert [one.about for one in now.changed] == ["calls.all.allowed"]


def test_a_time_line_that_is_cut_says_how_much_is_left_out() -> None:
    notes = tuple(told(n, "policy_changed", policy="cd" * 32) for n in range(10, 215))
    contents = made(evidence(notes=notes), INPUTS)
    assert len(contents.timeline) == 200
    assert contents.more_events
    assert (contents.more_events.value, contents.more_events.leaves) == (5, ("shard-000/210-214",))
    assert words("en")["more_events"] in written(contents, "html").decode()
    assert made(period(), INPUTS).more_events is UNSET
