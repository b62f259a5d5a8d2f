"""Where two laws disagree on how long records are kept: both are named, with what each asks, and the calls."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec import UNSET

from compliance.controls.catalogue import Lang
from compliance.controls.per_call import known
from compliance.duties.retention import RETENTION, Retention, retentions
from compliance.evidence.model import Evidence, ModelPapers, OpenedCall, PolicyText
from compliance.report.audit.contents import Inputs
from compliance.report.audit.formats import Format, written
from compliance.report.audit.made import made
from compliance.report.audit.recount import recount
from compliance.report.audit.retained import Disagreement, Retained
from compliance.report.errors import ReportError
from policies.facts import Purpose
from tests.evidences import MODEL, POLICY, a_call, evidence

ROOT = Path(__file__).resolve().parents[3]
INPUTS = Inputs(profile="gdpr", lang="en", made=1_795_000_000 * 10**9, version="0.1.0", witnessed=True)
Parameters = dict[str, dict[str, Any]]
HIGH_RISK: Parameters = {"ai_act": {"high_risk": ["search"], "log_days": 183}, "gdpr": {"retain_days": 90}}


def period(*calls: OpenedCall, parameters: Parameters, task: str = "embed") -> Evidence:
    purposes = {"search": Purpose(bases=frozenset({"contract"}), retain_days=30)}
    manifest = {"digest": MODEL, "name": "minilm", "version": "1", "task": task, "lineage": [], "recipe": []}
    papers = ModelPapers(digest=MODEL, record="shard-000/0", at=0, manifest=manifest, measurements={})
    policy = PolicyText(digest=POLICY, texts={}, purposes=purposes, parameters=parameters)
    return evidence(calls=calls, policies=(policy,), models=(papers,), tests=())


def found(of: Evidence, lang: Lang = "en") -> tuple[Disagreement, ...]:
    retained = Retained(known(of))
    for one in of.calls:
        retained.take(one)
    return retained.told(lang)


def test_both_laws_are_named_with_their_paragraphs_days_and_files() -> None:
    calls = (
        a_call(1, data=frozenset({"email"}), retain_days=90),
        a_call(3, subject="p", retain_days=200),
        a_call(5, retain_days=90),
        a_call(7, data=frozenset({"email"}), purpose="other", retain_days=10),
        a_call(9, data=frozenset({"email"}), allowed=False, purpose="search"),
    )
    [one] = found(period(*calls, parameters=HIGH_RISK))
    assert (one.least.law, one.least.at, one.least.days.value) == ("AI Act", "Art. 19(1), 26(6)", 184)
    assert (one.most.law, one.most.at, one.most.days.value) == ("GDPR", "Art. 5(1)(e)", 90)
    assert one.least.file == RETENTION
    assert one.most.file == "policies/packs/gdpr/pack.toml, retain_days"
    assert (ROOT / one.least.file).is_file()
    assert (ROOT / one.most.file.partition(",")[0]).is_file()
    assert one.purposes == ("search",)
    assert one.calls.leaves == ("shard-000/1", "shard-000/3")
    assert (one.shortest.value, one.shortest.leaves) == (90, ("shard-000/1",))
    assert (one.longest.value, one.longest.leaves) == (200, ("shard-000/3",))
    assert "personal data" in (one.least.yields or "")


@pytest.mark.parametrize(
    ("parameters", "task", "call", "sides"),
    [
        (HIGH_RISK, "embed", {"data": {"email"}}, {("ai-act-26", 184, "gdpr-5", 90)}),
        (
            {**HIGH_RISK, "ai_act": {"high_risk": ["search"], "log_days": 400}, "gdpr": {"retain_days": 300}},
            "embed",
            {"data": {"email"}},
            {("ai-act-26", 400, "gdpr-5", 300)},
        ),
        (
            {"hipaa": {"treatment": []}, "gdpr": {"retain_days": 730}},
            "embed",
            {"detected": {"health"}},
            {("hipaa-316", 2192, "gdpr-5", 730)},
        ),
        ({"hipaa": {"treatment": []}, "gdpr": {"retain_days": 730}}, "embed", {"data": {"email"}}, set()),
        ({"gdpr": {"retain_days": 730}}, "embed", {"data": {"health"}}, set()),
        (
            {"pipl": {"retain_days": 100}},
            "generate",
            {"data": {"email"}},
            {("cn-label-9", 184, "pipl-19", 100)},
        ),
        (
            {"pipl": {"retain_days": 365}},
            "generate",
            {"data": {"location"}},
            {("pipl-56", 1098, "pipl-19", 365)},
        ),
        ({"pipl": {"retain_days": 1098}}, "generate", {"data": {"location"}}, set()),
        (
            {"ai_act": {"high_risk": ["search"]}, "gdpr": {"retain_days": 30}, "pipl": {"retain_days": 60}},
            "embed",
            {"data": {"email"}},
            {("ai-act-26", 184, "gdpr-5", 30), ("ai-act-26", 184, "pipl-19", 60)},
        ),
    ],
)
def test_each_pair_of_laws_that_disagrees(
    parameters: Parameters, task: str, call: dict[str, set[str]], sides: set[tuple[str, int, str, int]]
) -> None:
    fields: dict[str, Any] = {name: frozenset(data) for name, data in call.items()}
    one = a_call(1, **fields)
    assert {tuple(each.id.split(".")[1:]) for each in found(period(one, parameters=parameters, task=task))} == {
        tuple(str(part) for part in side) for side in sides
    }


def test_calls_under_other_parameters_stand_apart() -> None:
    other = PolicyText(digest="ee" * 32, texts={}, purposes={}, parameters={**HIGH_RISK, "gdpr": {"retain_days": 30}})
    first = a_call(1, data=frozenset({"email"}))
    second = msgspec.structs.replace(a_call(3, data=frozenset({"email"})), policy="ee" * 32)
    both = period(first, second, parameters=HIGH_RISK)
    both = msgspec.structs.replace(both, policies=(*both.policies, other))
    assert [(one.most.days.value, one.calls.leaves) for one in found(both)] == [
        (30, ("shard-000/3",)),
        (90, ("shard-000/1",)),
    ]


@pytest.mark.parametrize("form", ["html", "json", "oscal"])
def test_every_number_of_it_is_counted_again(form: Format) -> None:
    of = period(a_call(1, data=frozenset({"email"}), retain_days=77), parameters=HIGH_RISK)
    contents = made(of, INPUTS)
    [one] = contents.retention or ()
    content = written(contents, form)
    assert recount(content, form, of) == contents
    numbers = {one.least.days: 184, one.most.days: 90, one.calls: 1, one.shortest: 77, one.longest: 77}
    places = {figure: place for place, figure in enumerate(dict.fromkeys(contents.figures()))}
    for figure, value in numbers.items():
        assert figure.value == value
        if form == "html":
            shown = f'data-n="{places[figure]}" value="{value}"'.encode()
            edited = content.replace(shown, shown.replace(str(value).encode(), b"9999"))
        else:
            document = json.loads(content)
            _edit(document, figure.id)
            edited = json.dumps(document).encode()
        with pytest.raises(ReportError, match="the leaves give") as refused:
            recount(edited, form, of)
        assert refused.value.code == "report_number"


def _edit(value: Any, id_: str) -> None:
    """Change the number of this name, as JSON has it and as OSCAL does."""
    if isinstance(value, dict):
        if value.get("id") == id_:
            value["value"] += 1
        if str(value.get("remarks", "")).startswith(f"{id_}\n"):
            value["value"] += "1"
        value = list(value.values())
    if isinstance(value, list):
        for one in value:
            _edit(one, id_)


def test_a_period_without_one_says_so() -> None:
    contents = made(period(a_call(1), parameters=HIGH_RISK), INPUTS)
    assert contents.retention is UNSET
    assert "No two laws disagree" in written(contents, "html").decode()


def test_the_page_names_both_in_either_language_and_says_what_was_not_read() -> None:
    of = period(a_call(1, data=frozenset({"email"})), parameters=HIGH_RISK)
    for lang, said in (("en", ("AI Act", "GDPR")), ("zh", ("《人工智能法》", "《通用数据保护条例》"))):
        page = written(made(of, msgspec.structs.replace(INPUTS, lang=lang)), "html").decode()
        table = page[page.index(RETENTION) - 1500 : page.index(RETENTION) + 1500]
        assert all(f"<strong>{name}</strong>" in table for name in said)


def test_what_the_laws_ask_is_data_with_its_source() -> None:
    every = {one.id: one for one in retentions()}
    assert {one.asks for one in every.values()} == {"least", "most"}
    for one in every.values():
        assert one.read is None or one.read == date(2026, 11, 29)
        assert "compliant" not in one.requires.en
    assert (every["hipaa-316"].days, every["ai-act-26"].days) == (6 * 365 + 2, 184)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"days": None}, "has a parameter"),
        ({"read": date(2026, 11, 29)}, "what was read has a text"),
        ({"text": "somewhere"}, "what was read has a text"),
    ],
)
def test_an_entry_that_says_too_little_is_refused(fields: dict[str, Any], said: str) -> None:
    whole: dict[str, Any] = {
        "id": "x", "name": {"en": "X", "zh": "X"}, "at": "1", "asks": "least", "about": "health", "days": 1,
        "requires": {"en": "X", "zh": "X"}, "text": "",
    }  # fmt: skip
    assert msgspec.convert(whole, Retention).days == 1
    with pytest.raises(msgspec.ValidationError, match=said):
        msgspec.convert(whole | fields, Retention)
