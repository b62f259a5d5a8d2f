"""Incidents and requests of persons: by when the law wants what, what may happen to one, and what a report says."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from compliance.controls.catalogue import Lang
from compliance.duties.deadlines import INCIDENTS, REQUESTS, Deadline, deadlines, due
from compliance.duties.errors import DutyError
from compliance.duties.kept import Duties, Duty, clocks
from compliance.evidence.model import Told
from compliance.report.audit.contents import Inputs
from compliance.report.audit.duties import duties
from compliance.report.audit.formats import written
from compliance.report.audit.made import made
from compliance.report.audit.recount import recount
from compliance.report.audit.words import words
from compliance.verify.errors import NotVerified
from tests.evidences import evidence

HOUR = 3600 * 10**9
VECTORS = Path(__file__).parents[2] / "vectors" / "duties"


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 10**9


def ends(kind: str, since: str, *, reason: str | None = None, affected: int | None = None) -> dict[str, str | None]:
    fields: dict[str, Any] = {"kind": kind, "since": at(since), "reason": reason, "affected": affected}
    duty = Duty(id="0" * 16, text="x", **fields)
    return {
        one.id: None if end is None else datetime.fromtimestamp(end // 10**9, UTC).isoformat()[:16]
        for one, end in clocks(duty)
    }


def test_every_kind_has_a_deadline_with_its_paragraph_in_both_languages() -> None:
    assert {kind for one in deadlines() for kind in one.kinds} == {*INCIDENTS, *REQUESTS}
    assert len({one.id for one in deadlines()}) == len(deadlines())
    for one in deadlines():
        assert one.at
        assert one.requires.en != one.requires.zh
    for kind in (*INCIDENTS, *REQUESTS):
        assert words("en")[kind] != words("zh")[kind]


@pytest.mark.parametrize(
    ("kind", "since", "expected"),
    [
        (
            "personal-data-breach",
            "2026-11-28T08:30",
            {"gdpr-33": "2026-12-01T08:30", "gdpr-34": None, "pipl-57": None},
        ),
        ("health-data-breach", "2026-11-28T08:30", {"hipaa-404": "2027-01-28T00:00"}),
        ("serious-incident", "2026-11-28T08:30", {"ai-act-26-5": None, "ai-act-73-2": "2026-12-14T00:00"}),
        ("widespread-infringement", "2026-11-28T08:30", {"ai-act-26-5": None, "ai-act-73-3": "2026-12-01T00:00"}),
        ("critical-infrastructure", "2026-11-28T08:30", {"ai-act-26-5": None, "ai-act-73-3": "2026-12-01T00:00"}),
        ("death", "2026-11-28T08:30", {"ai-act-26-5": None, "ai-act-73-4": "2026-12-09T00:00"}),
        ("access", "2026-11-28T23:59", {"gdpr-12": "2026-12-29T00:00"}),
        # the last day of a shorter month, and over the end of a year
        ("erasure", "2027-01-31T08:00", {"gdpr-12": "2027-03-01T00:00"}),
        ("portability", "2028-01-31T08:00", {"gdpr-12": "2028-03-01T00:00"}),
        ("access", "2026-12-31T08:00", {"gdpr-12": "2027-02-01T00:00"}),
    ],
)
def test_the_time_runs_as_the_law_says(kind: str, since: str, expected: dict[str, str | None]) -> None:
    assert ends(kind, since) == expected


@pytest.mark.parametrize(
    ("kind", "id_", "affected", "expected"),
    [
        ("health-data-breach", "hipaa-408", 500, "2027-01-28T00:00"),
        ("personal-data-breach", "cn-incident-4", 1_000_000, "2026-11-28T12:30"),
    ],
)
def test_some_deadlines_apply_from_so_many_persons_on(kind: str, id_: str, affected: int, expected: str) -> None:
    assert ends(kind, "2026-11-28T08:30", affected=affected)[id_] == expected
    for fewer in (None, 0, affected - 1):
        assert id_ not in ends(kind, "2026-11-28T08:30", affected=fewer)


def test_a_deadline_says_where_its_words_were_read() -> None:
    for one in deadlines():
        assert (one.read is None) == (not one.text)
    fields = {"id": "a", "source": "b", "at": "c", "kinds": ["death"], "requires": {"en": "d", "zh": "e"}, "days": 2}
    for wrong in ({"read": date(2026, 11, 29)}, {"text": "somewhere"}):
        with pytest.raises(msgspec.ValidationError, match="what was read has a text"):
            msgspec.convert({**fields, **wrong}, Deadline)


def test_an_extension_is_two_months_from_the_end_of_the_first() -> None:
    assert ends("access", "2026-11-30T08:00", reason="many") == {"gdpr-12": "2027-03-01T00:00"}
    one = next(one for one in deadlines() if one.id == "gdpr-33")
    assert due(one, 0, extended=True) == 72 * HOUR


def test_a_deadline_is_in_one_unit() -> None:
    fields = {"id": "a", "source": "b", "at": "c", "kinds": ["death"], "requires": {"en": "d", "zh": "e"}}
    msgspec.convert({**fields, "days": 2}, Deadline)
    for wrong in ({"days": 2, "hours": 3}, {"days": 0}, {"kinds": ["a flood"]}):
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert({**fields, **wrong}, Deadline)


def _refused(code: str, what: Any, *given: Any, **fields: Any) -> None:
    with pytest.raises(DutyError) as refusal:
        what(*given, **fields)
    assert refusal.value.code == code


def test_one_is_made_kept_extended_once_and_closed(tmp_path: Path) -> None:
    kept, now = Duties(tmp_path), at("2026-11-28T12:00")
    duty = kept.made(now, kind="access", since=now - HOUR, text="letter 7")
    assert kept.all(REQUESTS) == ()
    kept.keep(duty)
    assert kept.all(REQUESTS) == (kept.open(duty.id, REQUESTS),) == (duty,)
    assert kept.all(INCIDENTS) == ()
    _refused("duty_unknown", kept.open, duty.id, INCIDENTS)
    for unknown in ("../sealpress", "0" * 16):
        _refused("duty_unknown", kept.open, unknown, REQUESTS)
    extended = kept.extended(duty, "many at once", now)
    _refused("duty_extended", kept.extended, extended, "again", now)
    _refused("duty_extended", kept.extended, duty, "too late", now + 40 * 24 * HOUR)
    incident = kept.made(now, kind="death", since=now, text="x", happened=now)
    _refused("duty_extended", kept.extended, incident, "no law says so", now)
    kept.keep(kept.updated(extended, ended=now))
    _refused("duty_closed", kept.open, duty.id, REQUESTS)


def test_what_cannot_be_is_refused(tmp_path: Path) -> None:
    kept, now = Duties(tmp_path), at("2026-11-28T12:00")
    _refused("duty_time", kept.made, now, kind="death", since=now + 1, text="x")
    _refused("duty_time", kept.made, now, kind="death", since=now, happened=now + 1, text="x")
    for wrong in ({"text": ""}, {"text": "x" * 2001}, {"affected": -1}, {"kind": "a flood"}, {"since": -1}):
        with pytest.raises(msgspec.ValidationError):
            kept.made(now, **{"kind": "death", "since": now, "text": "x", **wrong})
    for name, content in (("a.json", b"{}"), (f"{'1' * 16}.json", (VECTORS / "format-1.json").read_bytes())):
        (tmp_path / name).write_bytes(content)
        _refused("duty_malformed", kept.all, REQUESTS)
        (tmp_path / name).unlink()


def test_what_the_first_format_wrote_stays_readable(tmp_path: Path) -> None:
    content = (VECTORS / "format-1.json").read_bytes()
    (tmp_path / "3f2a9c41d5e6b708.json").write_bytes(content)
    [one] = Duties(tmp_path).all(REQUESTS)
    assert (one.kind, one.reason, one.ended) == ("access", "40 requests at once", 1796000000000000000)
    Duties(tmp_path).keep(one)
    assert (tmp_path / "3f2a9c41d5e6b708.json").read_bytes() == content


def note(sequence: int, kind: str, data: dict[str, Any]) -> Told:
    return Told(record=f"shard-000/{sequence}", at=SINCE + sequence, kind=kind, data=data)


SINCE = at("2026-11-20T12:00")
BREACH = {"id": "a" * 16, "kind": "personal-data-breach", "since": SINCE, "text": "A disk was <stolen>"}
ASKED = {"id": "b" * 16, "kind": "access", "since": SINCE, "text": "letter 7"}


@pytest.mark.parametrize(
    ("data", "made_at", "state", "left"),
    [
        (BREACH, SINCE + 71 * HOUR, "running", 1),
        (BREACH, SINCE + 73 * HOUR, "over", None),
        ({**BREACH, "ended": SINCE + 72 * HOUR}, SINCE + 99 * HOUR, "in_time", None),
        ({**BREACH, "ended": SINCE + 72 * HOUR + 1}, SINCE + 99 * HOUR, "late", None),
    ],
)
def test_a_report_says_how_each_time_stands(data: dict[str, Any], made_at: int, state: str, left: int | None) -> None:
    [one] = duties(evidence(notes=(note(1, "incident_opened", data),)), made_at, "en")
    assert one.incident
    assert (one.clocks[0].state, one.clocks[0].left_h, one.clocks[1].state) == (state, left, "at_once")


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_both_are_in_the_report_and_counted_again(lang: Lang) -> None:
    found = evidence(
        earlier=(note(0, "incident_opened", BREACH),),
        notes=(
            note(1, "request_received", ASKED),
            note(2, "incident_updated", {**BREACH, "affected": 3}),
            note(3, "request_extended", {**ASKED, "reason": "many at once"}),
        ),
    )
    inputs = Inputs(profile="gdpr", lang=lang, made=SINCE + HOUR, version="1", witnessed=False)
    contents = made(found, inputs)
    assert [(one.incident, one.affected, one.reason, one.told.value) for one in contents.duties or ()] == [
        (True, 3, None, 2),
        (False, None, "many at once", 2),
    ]
    page = written(contents, "html").decode()
    assert "A disk was &lt;stolen&gt;" in page
    assert "Art. 33(1)" in page
    assert "Art. 12(3)" in page
    for form in ("html", "json", "oscal"):
        recount(written(contents, form), form, found)


def test_a_report_without_any_is_as_before() -> None:
    inputs = Inputs(profile="gdpr", lang="en", made=SINCE, version="1", witnessed=False)
    assert b'"duties"' not in written(made(evidence(), inputs), "json")


def test_a_note_that_is_none_is_refused() -> None:
    with pytest.raises(NotVerified):
        duties(evidence(notes=(note(1, "incident_opened", {"id": "x"}),)), SINCE, "en")
