"""The audit report: every number has its leaves and is counted again, in each format, and nothing else passes."""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema_rs
import msgspec
import pytest
from msgspec import structs

from compliance.controls.answers import Answer, Signed, opened, signed
from compliance.controls.catalogue import Lang
from compliance.controls.errors import ControlError
from compliance.evidence.model import Evidence
from compliance.report.audit.contents import Contents, Inputs
from compliance.report.audit.formats import Format, written
from compliance.report.audit.made import kept, made
from compliance.report.audit.printed import _fonts
from compliance.report.audit.recount import recount
from compliance.report.audit.words import words
from compliance.report.errors import FontMissing, ReportError
from policies.facts import Outcome
from tests.evidences import MODEL, a_call, evidence, told
from tests.forge import signer
from toolkit.commands.reports import parts
from toolkit.extras import MissingExtra

HOSTILE = "<script>alert(1)</script>\"'&{{ 7*7 }}\u202e]]></svg></style>"
INPUTS = Inputs(profile="licence", lang="en", made=1_795_000_000 * 10**9, version="0.1.0", witnessed=True)
FORMATS: tuple[Format, ...] = ("html", "json", "oscal")
ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def period() -> Evidence:
    """A day with calls of several kinds, one that failed, and an erasure."""
    calls = (
        a_call(1),
        a_call(3, allowed=False),
        a_call(5, data=frozenset({"health"}), purpose="search"),
        a_call(7, outcome=Outcome(ok=False, code="model_failed")),
    )
    return evidence(calls=calls, notes=(told(9, "erased", rows=1), told(10, "policy_changed", policy="cd" * 32)))


def answer(**changes: Any) -> Answer:
    fields: dict[str, Any] = {
        "control": "hipaa-logoff",
        "journal": "12" * 16,
        "says": "met",
        "text": "The portal ends sessions after ten minutes.",
        "name": "Dr. A. Weber",
        "role": "security officer",
        "at": 1_794_000_000 * 10**9,
    }
    return Answer(**(fields | changes))


@pytest.mark.parametrize("lang", ["en", "zh"])
@pytest.mark.parametrize("form", FORMATS)
def test_a_report_is_made_the_same_again(period: Evidence, form: Format, lang: Lang) -> None:
    contents = made(period, structs.replace(INPUTS, lang=lang, profile="all"))
    content = written(contents, form)
    assert recount(content, form, period) == contents
    assert "compliant" not in content.decode().lower()


def test_the_numbers_are_those_of_the_leaves(period: Evidence) -> None:
    contents = made(period, INPUTS)
    found = {one.id: one for one in contents.figures()}
    assert (found["calls.all.allowed"].value, found["calls.all.allowed"].leaves) == (
        3,
        ("shard-000/1", "shard-000/5", "shard-000/7"),
    )
    assert (found["calls.all.refused"].value, found["calls.all.refused"].leaves) == (1, ("shard-000/3",))
    assert found["failed.model_failed"].leaves == ("shard-000/7",)
    assert found["data.health.allowed"].leaves == ("shard-000/5",)
    assert found["acts.erased"].leaves == ("shard-000/9",)
    assert found[f"model.{MODEL}.after.size_bytes"].value == 250
    assert sum(one.value for one in contents.counts) == len(contents.controls)
    assert [one.kind for one in contents.timeline] == ["policy_changed"]


def test_every_number_in_json_is_counted_again(period: Evidence) -> None:
    document = json.loads(written(made(period, INPUTS), "json"))
    figures = list(_figures(document))
    assert len(figures) > 40
    for one in figures:
        was = one["value"]
        one["value"] = was + 1
        with pytest.raises(ReportError, match="the leaves give") as refused:
            recount(json.dumps(document).encode(), "json", period)
        assert refused.value.code == "report_number"
        one["value"] = was


def _figures(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        if {"id", "value"} <= set(value):
            yield value
        value = list(value.values())
    if isinstance(value, list):
        for one in value:
            yield from _figures(one)


@pytest.mark.parametrize("edited", ["value", "shown"])
def test_every_number_on_the_page_is_counted_again(period: Evidence, edited: str) -> None:
    page = written(made(period, INPUTS), "html").decode()
    found = list(re.finditer(r'<data data-n="\d+" value="(?P<value>[^"]+)">(?P<shown>[^<]+)</data>', page))
    assert len(found) > 40
    for one in found:
        start, end = one.span(edited)
        with pytest.raises(ReportError, match="the leaves give") as refused:
            recount((page[:start] + "9" + page[start:end] + page[end:]).encode(), "html", period)
        assert refused.value.code == "report_number"


def test_every_number_in_oscal_is_counted_again(period: Evidence) -> None:
    document = json.loads(written(made(period, INPUTS), "oscal"))
    [result] = document["assessment-results"]["results"]
    numbers = [one for one in result["props"] if one["name"] == "number"]
    assert len(numbers) > 40
    for one in numbers:
        was = one["value"]
        one["value"] = f"{was}1"
        with pytest.raises(ReportError, match="the leaves give") as refused:
            recount(json.dumps(document).encode(), "oscal", period)
        assert refused.value.code == "report_number"
        one["value"] = was


@pytest.mark.parametrize("form", FORMATS)
def test_a_digit_that_is_changed_anywhere_is_refused(period: Evidence, form: Format) -> None:
    content = written(made(period, INPUTS), form)
    # a report that says that it was made at another time, of the same leaves, is one of that time
    start = content.index({"json": b'"box"', "html": b"<title>", "oscal": b'"results"'}[form])
    places = [one.start() for one in re.finditer(rb"\d", content) if one.start() > start]
    for place in places[:: len(places) // 25]:
        digit = b"7" if content[place : place + 1] != b"7" else b"8"
        with pytest.raises((ReportError, ControlError)):
            recount(content[:place] + digit + content[place + 1 :], form, period)


@pytest.mark.parametrize("form", FORMATS)
def test_other_words_are_refused_though_the_numbers_hold(period: Evidence, form: Format) -> None:
    content = written(made(period, INPUTS), form).replace(b"No model runs under a usage grant", b"All is well here now")
    with pytest.raises(ReportError) as refused:
        recount(content, form, period)
    assert refused.value.code == "report_altered"


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("content", [b"", b"{}", b"<html></html>", b"\xff", b"[1]", b'{"assessment-results": {}}'])
def test_what_is_no_report_is_refused(period: Evidence, form: Format, content: bytes) -> None:
    with pytest.raises(ReportError) as refused:
        recount(content, form, period)
    assert refused.value.code == "report_malformed"


def test_other_evidence_does_not_give_the_report(period: Evidence) -> None:
    content = written(made(period, INPUTS), "json")
    fewer = structs.replace(period, calls=tuple(period.calls)[1:])
    with pytest.raises(ReportError, match=r"'calls\.all\.allowed' says 3, and the leaves give 2|'licence"):
        recount(content, "json", fewer)


def test_a_witness_is_not_claimed_without_a_head(period: Evidence) -> None:
    content = written(made(period, INPUTS), "html")
    with pytest.raises(ReportError) as refused:
        recount(content, "html", structs.replace(period, witnessed=False))
    assert refused.value.code == "report_unwitnessed"
    less = made(period, structs.replace(INPUTS, witnessed=False))
    page = written(less, "html")
    assert b"unwitnessed" in page
    assert recount(page, "html", period) == less


def test_no_text_of_a_caller_is_taken_as_markup() -> None:
    calls = (a_call(1, purpose=HOSTILE), structs.replace(a_call(3), model={"licence": HOSTILE}))
    hostile = evidence(calls=calls)
    page = written(made(hostile, INPUTS), "html").decode()
    assert "<script" not in page
    assert "\u202e" not in page.replace(r"\u202e", "")
    assert "{{ 7*7 }}" in page
    for form in FORMATS:
        recount(written(made(hostile, INPUTS), form), form, hostile)


def test_the_page_needs_nothing_from_elsewhere(period: Evidence) -> None:
    page = written(made(period, structs.replace(INPUTS, profile="all")), "html").decode()
    assert "default-src 'none'; style-src 'unsafe-inline'" in page
    assert not re.search(r"<script|https?://|\burl\((?!#hatch\))|@import|<link|<img", page)
    anchors = set(re.findall(r'href="#([^"]+)"', page))
    assert anchors <= set(re.findall(r' id="([^"]+)"', page))


def test_the_sections_come_in_the_order_in_which_a_reader_needs_them(period: Evidence) -> None:
    said = words("en")
    order = (
        "fixes", "served", "controls", "chain", "personal", "statement", "incidents", "questions", "check", "cannot",
        "changed", "leaves",
    )  # fmt: skip
    page = written(made(period, INPUTS), "html").decode()
    assert re.findall(r"<h2>([^<]+)</h2>", page) == [said[name] for name in order]


def test_failures_come_first_with_what_to_set_and_from_when_on(period: Evidence) -> None:
    contents = made(period, structs.replace(INPUTS, profile="hipaa"))
    kinds = [one.kind for one in contents.controls]
    assert kinds == sorted(kinds, key=["fail", "needs_person", "not_measured", "pass", "not_applicable"].index)
    fixes = {one.control: one for one in contents.fixes}
    assert "recorded without encryption" in fixes["hipaa-encryption"].what
    assert "sealpress init" in fixes["hipaa-encryption"].do
    assert str(fixes["hipaa-encryption"].starts) == "2005-04-20"


def test_a_persons_answer_settles_what_needs_a_person(period: Evidence) -> None:
    hipaa = structs.replace(INPUTS, profile="hipaa")
    late = answer(at=1_794_500_000 * 10**9, says="not_met", text="It does not any more.")
    answers = (signed(late, signer("root")), signed(answer(), signer("root")))
    found = {one.id: one for one in made(period, structs.replace(hipaa, answers=answers)).controls}
    assert found["hipaa-logoff"].kind == "fail"
    assert found["hipaa-logoff"].answered is not None
    assert found["hipaa-logoff"].answered.name == "Dr. A. Weber"
    assert {one.id: one.kind for one in made(period, hipaa).controls}["hipaa-logoff"] == "needs_person"


def test_an_answer_overrules_no_check_and_counts_on_its_box_only(period: Evidence) -> None:
    hipaa = structs.replace(INPUTS, profile="hipaa")
    of_check = signed(answer(control="hipaa-encryption"), signer("root"))
    elsewhere = signed(answer(journal="34" * 16), signer("root"))
    found = {one.id: one for one in made(period, structs.replace(hipaa, answers=(of_check, elsewhere))).controls}
    assert found["hipaa-encryption"].kind == "fail"
    assert found["hipaa-logoff"].kind == "needs_person"


@pytest.mark.parametrize("field", ["statement", "key", "signature"])
def test_an_answer_that_was_changed_stops_the_report(period: Evidence, field: str) -> None:
    one, other = signed(answer(), signer("root")), signed(answer(text="Another."), signer("day"))
    forged = structs.replace(one, **{field: getattr(other, field)})
    with pytest.raises(ControlError) as refused:
        made(period, structs.replace(INPUTS, answers=(forged,)))
    assert refused.value.code == "answer_forged"


def test_a_report_says_what_changed_since_the_last_one(period: Evidence) -> None:
    before = made(evidence(), INPUTS)
    now = made(period, structs.replace(INPUTS, previous=kept(before)))
    changed = {one.about: (one.before, one.now) for one in now.changed}
    assert changed["calls.all.allowed"] == ("1", "3")
    assert made(period, structs.replace(INPUTS, previous=kept(now))).changed == ()
    recount(written(now, "html"), "html", period)


def test_the_published_schema_is_that_of_the_report(period: Evidence) -> None:
    published = json.loads((ROOT / "docs" / "audit-report.schema.json").read_text("utf-8"))
    assert published == json.loads(json.dumps(msgspec.json.schema(Contents)))
    validator = jsonschema_rs.Draft202012Validator(published)
    document = json.loads(written(made(period, structs.replace(INPUTS, profile="all")), "json"))
    validator.validate(document)
    for golden in ("golden-v1", "golden-record-v1"):
        validator.validate(json.loads((ROOT / "tests/vectors/reports" / golden / "report.json").read_bytes()))
    for name in document:
        assert not validator.is_valid(document | {name: 1.5}), name


def test_oscal_says_satisfied_of_what_passed_only(period: Evidence) -> None:
    contents = made(period, structs.replace(INPUTS, profile="all"))
    document = json.loads(written(contents, "oscal"))["assessment-results"]
    assert document["metadata"]["oscal-version"] == "1.2.1"
    [result] = document["results"]
    satisfied = {
        one["target"]["target-id"] for one in result["findings"] if one["target"]["status"]["state"] == "satisfied"
    }
    assert satisfied == {one.id for one in contents.controls if one.kind == "pass"}
    for one in [*result["props"], *document["metadata"]["props"]]:
        assert re.fullmatch(r"\S(.*\S)?", one["value"])


def test_what_the_first_format_wrote_stays_readable() -> None:
    golden = ROOT / "tests" / "vectors" / "reports" / "golden-v1"
    for name in ("report.json", "answer.json"):
        assert re.match(rb'\{\s*"format": 1,', (golden / name).read_bytes())
    contents = msgspec.json.decode((golden / "report.json").read_bytes(), type=Contents)
    assert kept(contents).kinds["hipaa-logoff"] == "pass"
    assert opened(msgspec.json.decode((golden / "answer.json").read_bytes(), type=Signed)) == answer()


def test_a_record_of_processing_stays_readable() -> None:
    golden = ROOT / "tests" / "vectors" / "reports" / "golden-record-v1" / "report.json"
    contents = msgspec.json.decode(golden.read_bytes(), type=Contents)
    assert [one.least.days.value for one in contents.retention or ()] == [184]
    assert contents.record
    assert contents.role
    assert contents.more_events
    assert contents.models[0].quality
    assert kept(contents).models == {MODEL: "minilm 1"}


@pytest.mark.slow
def test_a_pdf_is_tagged_and_made_the_same_again(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("weasyprint", reason="the extra pdf is not installed", exc_type=ImportError)
    few = evidence(calls=(), models=(), tests=())
    content = written(made(few, INPUTS), "pdf")
    assert content.startswith(b"%PDF-")
    streams = re.findall(rb"FlateDecode.*?stream\r?\n(.*?)\r?\nendstream", content, re.DOTALL)
    assert any(b"/StructTreeRoot" in zlib.decompressobj().decompress(stream) for stream in streams)
    assert recount(content, "pdf", few).inputs == INPUTS
    # what it is compared with was made once more just now, and takes seconds each time
    monkeypatch.setattr("compliance.report.audit.recount.written", lambda *_: content)
    edited = 0
    for found in re.finditer(rb"FlateDecode.*?stream\r?\n(.*?)\r?\nendstream", content, re.DOTALL):
        drawn = zlib.decompressobj().decompress(found[1])
        # glyphs that are shown, as hexadecimal numbers
        for glyph in list(re.finditer(rb"<([0-9a-f]{4})", drawn))[::20]:
            other = drawn[: glyph.start(1)] + b"0001" + drawn[glyph.end(1) :]
            changed = content[: found.start(1)] + zlib.compress(other) + content[found.end(1) :]
            with pytest.raises(ReportError) as refused:
                recount(changed, "pdf", few)
            assert refused.value.code == "report_altered"
            edited += 1
    assert edited > 100
    for broken in (b"%PDF-1.7", content.replace(b"/EmbeddedFile", b"/EmbeddedFilm")):
        with pytest.raises(ReportError) as refused:
            recount(broken, "pdf", few)
        assert refused.value.code == "report_malformed"


def test_a_pdf_with_characters_that_no_font_has_is_refused() -> None:
    weasyprint = pytest.importorskip("weasyprint", reason="the extra pdf is not installed", exc_type=ImportError)
    with pytest.raises(FontMissing) as refused, _fonts():
        weasyprint.HTML(string="<p>one \U000f0000 of nobody</p>").write_pdf()
    assert refused.value.code == "report_font"
    with _fonts():
        weasyprint.HTML(string="<p>letters</p>").write_pdf()


@pytest.mark.parametrize(
    ("missing", "said"),
    [(ModuleNotFoundError(name="weasyprint"), r"sealpress\[pdf\]"), (OSError("cannot load"), "Pango")],
)
def test_pdf_is_refused_with_what_to_install(missing: Exception, said: str) -> None:
    with pytest.raises(MissingExtra, match=said), parts(["pdf"]):
        raise missing


def test_a_disk_that_is_full_is_no_missing_part() -> None:
    with pytest.raises(OSError, match="space"), parts(["pdf"]):
        raise OSError(28, "No space left on device")
