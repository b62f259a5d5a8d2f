"""Incidents and requests of persons by the command, through to the report on the evidence of the box."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.commands import within
from toolkit.new_box import create_box


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Path:
    box = tmp_path_factory.mktemp("duties") / "box"
    create_box(box)
    return box


def run(box: Path, *arguments: str | Path, fails: int = 0) -> Any:
    ran = within(box, *arguments, "--json")
    assert ran.returncode == fails, ran.stderr
    return json.loads(ran.stdout or ran.stderr)


def test_what_is_told_by_the_commands_is_in_the_report(box: Path) -> None:
    breach = run(box, "incident", "open", "--kind", "personal-data-breach", "--text", "A disk was stolen")
    assert [one["at"] for one in breach["deadlines"]] == ["Art. 33(1)", "Art. 34(1)", "Art. 57"]
    assert breach["deadlines"][0]["left_s"] == 72 * 3600
    run(box, "incident", "update", breach["id"], "--affected", "3", "--text", "It was not encrypted")
    asked = run(box, "subject", "request", "receive", "--kind", "access", "--text", "letter 7")
    extended = run(box, "subject", "request", "extend", asked["id"], "--reason", "many at once")
    assert extended["deadlines"][0]["due"] > asked["deadlines"][0]["due"]
    run(box, "subject", "request", "answer", asked["id"], "--text", "exported")
    said = within(box, "incident", "list").stdout
    assert "Art. 33(1): tell the supervisory authority" in said
    assert "2 days 23 hours left" in said
    assert "in time" in within(box, "subject", "request", "list").stdout
    key: tuple[str | Path, ...] = ("--auditor-key", box.parent / "box-auditor" / "auditor.key")
    report = ("audit", "report", "--profile", "gdpr", "--format", "json", "--format", "html", "--out", "report")
    made = run(box, *report, *key)
    contents = json.loads((box / "report" / "report.json").read_text("utf-8"))
    assert [(one["kind"], one["affected"], one["told"]["value"]) for one in contents["duties"]] == [
        ("personal-data-breach", 3, 2),
        ("access", None, 3),
    ]
    run(box, "audit", "verify", "report/evidence.zip", *(part for one in made["reports"] for part in ("--report", one)))


def test_an_export_and_an_erasure_answer_the_request_that_they_name(box: Path) -> None:
    key = box.parent / "box-auditor" / "auditor.key"
    commands: dict[str, tuple[str | Path, ...]] = {
        "access": ("subject", "export", "person-1", "--auditor-key", key, "--out", "person-1.json"),
        "erasure": ("subject", "erase", "person-1", "--ground", "a request"),
    }
    asked = {
        kind: run(box, "subject", "request", "receive", "--kind", kind, "--text", "letter")["id"] for kind in commands
    }
    wrong = run(box, *commands["access"], "--request", asked["erasure"], fails=1)
    assert wrong["code"] == "duty_unknown"
    assert not (box / "person-1.json").exists()
    for kind, command in commands.items():
        run(box, *command, "--request", asked[kind])
    found = {one["id"]: one for one in run(box, "subject", "request", "list")["requests"]}
    assert found[asked["access"]]["text"] == "exported 0 records and 0 consents"
    assert found[asked["erasure"]]["text"].startswith("erased, shard-")
    assert all(found[id_]["deadlines"][0]["left_s"] > 0 and "ended" in found[id_] for id_ in asked.values())


def test_what_is_over_or_not_there_is_refused_and_nothing_is_kept(box: Path) -> None:
    opened = run(box, "incident", "open", "--kind", "death", "--known", "2020-01-01", "--text", "x")
    assert "over" in within(box, "incident", "list").stdout
    run(box, "incident", "close", opened["id"], "--text", "told")
    assert run(box, "incident", "close", opened["id"], "--text", "x", fails=1)["code"] == "duty_closed"
    assert run(box, "incident", "update", "0" * 16, "--text", "x", fails=1)["code"] == "duty_unknown"
    ahead = ("incident", "open", "--kind", "death", "--known", "2100-01-01", "--text", "x")
    before = sorted((box / "duties").iterdir())
    assert run(box, *ahead, fails=1)["code"] == "duty_time"
    assert within(box, "incident", "open", "--kind", "death", "--text", "").returncode == 2
    assert sorted((box / "duties").iterdir()) == before
