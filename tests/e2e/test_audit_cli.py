"""sealpress audit report and answer: from a box and from evidence, through to a verifier who counts again."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from policies.facts import Manifest, Outcome
from policies.payload import Payload
from tests.commands import within
from toolkit.box import Box, Context
from toolkit.new_box import create_box

GOLDEN = Path(__file__).resolve().parents[1] / "vectors" / "evidence" / "golden-v1"
EVIDENCE: tuple[str | Path, ...] = ("--key", (GOLDEN / "root").read_text().strip(), "--head", GOLDEN / "kept.head")
MODEL = Manifest(
    format=1, name="small-int8", version="1", digest="d0" * 32, task="embed", licence="MIT", inputs=(), outputs=()
)


def audit(folder: Path, *arguments: str | Path, fails: int = 0) -> Any:
    ran = within(folder, "audit", *arguments, "--json")
    assert ran.returncode == fails, ran.stderr
    return json.loads(ran.stdout or ran.stderr)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A box with calls, and the key of a person who may answer for it."""
    folder = tmp_path_factory.mktemp("audited")
    create_box(folder / "box")
    made = within(folder / "box", "override", "key", folder / "ann.key", "--json")
    line = f'\n[override.approvers]\nann = "{json.loads(made.stdout)["approver"]}"\n'
    settings = folder / "box" / "sealpress.toml"
    settings.write_text(settings.read_text("utf-8") + line, "utf-8")
    box = Box(settings)
    for number in range(4):
        call = box.call("infer", MODEL.digest, Context(purpose="search" if number else None), "ed25519:none")
        call = replace(call, sealed=box.journal.sealed, usage=0)
        decision = box.policy.decide(MODEL, call)
        entry = box.journal.opened(call, MODEL, decision, Payload.checked({"texts": ["a canary in the coal mine"]}))
        if decision.allowed:
            box.journal.closed(entry, Outcome(ok=True, usage={"texts": 1}))
    box.journal.close()
    return folder


def test_a_box_is_reported_on_answered_for_and_counted_again(folder: Path, tmp_path: Path) -> None:
    key = ("--auditor-key", folder / "box-auditor" / "auditor.key")
    formats = ("--format", "html", "--format", "json", "--format", "oscal")
    first = audit(folder / "box", "report", "--profile", "hipaa", *formats, "--out", tmp_path / "1", *key)
    assert first["controls"]["needs_person"] == 4
    assert not first["witnessed"]
    told = audit(
        folder / "box", "answer", "--control", "hipaa-logoff", "--says", "met", "--text", "The portal ends sessions.",
        "--role", "security officer", "--key", folder / "ann.key",
    )  # fmt: skip
    assert told["name"] == "ann"
    again = audit(
        folder / "box", "report", "--profile", "hipaa", "--lang", "zh", *formats, "--out", tmp_path / "2", *key,
        "--previous", tmp_path / "1" / "report.json",
    )  # fmt: skip
    assert again["controls"]["needs_person"] == 3
    report = json.loads((tmp_path / "2" / "report.json").read_text("utf-8"))
    assert {"about": "hipaa-logoff", "before": "needs_person", "now": "pass"} in report["changed"]
    # reading the journal for the first report is on record in the second
    assert next(one for one in report["acts"] if one["id"] == "acts.reads")["value"] == 2
    for name in ("1", "2"):
        reports = [
            argument for path in again["reports"] for argument in ("--report", tmp_path / name / Path(path).name)
        ]
        verified = audit(folder / "box", "verify", tmp_path / name / "evidence.zip", *reports)
        assert len(verified["reports"]) == 3
    # a report is on its own evidence only
    other = audit(
        folder / "box", "verify", tmp_path / "1" / "evidence.zip", "--report", tmp_path / "2" / "report.json", fails=1
    )
    assert other["code"] == "report_number"
    assert b"canary" not in b"".join(path.read_bytes() for path in tmp_path.rglob("report.*"))


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"--control": "hipaa-nothing"}, "control_unknown"),
        ({"--control": "hipaa-audit"}, "control_measured"),
        ({"--key": "other.key"}, "answer_person"),
    ],
)
def test_an_answer_that_cannot_count_is_refused(folder: Path, changes: dict[str, str], code: str) -> None:
    if not (folder / "other.key").exists():
        assert within(folder / "box", "override", "key", folder / "other.key").returncode == 0
    given = {"--control": "hipaa-entity", "--says": "met", "--text": "x", "--role": "y", "--key": "ann.key"} | changes
    given["--key"] = str(folder / given["--key"])
    refused = audit(folder / "box", "answer", *(word for pair in given.items() for word in pair), fails=1)
    assert refused["code"] == code


def test_evidence_is_reported_on_away_from_its_box(tmp_path: Path) -> None:
    for profile in ("gdpr", "licence"):
        made = audit(
            tmp_path, "report", "--profile", profile, "--evidence", GOLDEN / "evidence.zip", *EVIDENCE,
            "--out", tmp_path / profile,
        )  # fmt: skip
        assert made["witnessed"]
        report = tmp_path / profile / "report.html"
        audit(tmp_path, "verify", GOLDEN / "evidence.zip", *EVIDENCE, "--report", report)
    page = report.read_text("utf-8")
    report.write_text(re.sub(r'(<data data-n="0" value=")(\d+)', r"\g<1>9\2", page, count=1), "utf-8")
    told = audit(tmp_path, "verify", GOLDEN / "evidence.zip", *EVIDENCE, "--report", report, fails=1)
    assert told["code"] == "report_number"


@pytest.mark.parametrize(
    "arguments",
    [
        ("--lang", "zh"),
        ("--format", "json"),
        ("--profile", "gdpr"),
        ("--profile", "gdpr", "--evidence", GOLDEN / "evidence.zip", "--auditor-key", "a.key"),
    ],
)
def test_options_that_do_not_go_together_are_refused(tmp_path: Path, arguments: tuple[str | Path, ...]) -> None:
    assert within(tmp_path, "audit", "report", "--out", tmp_path / "out", *arguments).returncode == 2
    assert not (tmp_path / "out").exists()


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    given = ("report", "--profile", "licence", "--evidence", GOLDEN / "evidence.zip", *EVIDENCE, "--out", tmp_path)
    audit(tmp_path, *given)
    assert audit(tmp_path, *given, fails=2)["code"] == "report_exists"


def test_the_page_fits_on_a_phone(tmp_path: Path) -> None:
    command = shutil.which("chromium")
    if command is None:
        pytest.skip("there is no chromium on this machine")
    frames = ""
    for lang in ("en", "zh"):
        given = ("report", "--profile", "gdpr", "--lang", lang, "--evidence", GOLDEN / "evidence.zip", *EVIDENCE)
        audit(tmp_path, *given, "--out", tmp_path / lang)
        page = html.escape((tmp_path / lang / "report.html").read_text("utf-8"))
        for width in (1100, 640, 390, 320):
            frames += f'<iframe style="border: 0; width: {width}px; height: 800px" srcdoc="{page}"></iframe>'
    (tmp_path / "frames.html").write_text(
        f"{frames}<p></p><script>window.onload = () => {{"
        "document.querySelector('p').textContent = [...document.querySelectorAll('iframe')].map((frame) => {"
        "const root = frame.contentDocument.documentElement; return `${root.clientWidth}=${root.scrollWidth}`;"
        "}).join(' ') }</script>",
        "utf-8",
    )
    switches = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    frames_page = (tmp_path / "frames.html").as_uri()
    done = subprocess.run(
        [command, *switches, "--dump-dom", frames_page], check=True, capture_output=True, text=True, timeout=120
    )
    [found] = re.findall(r"<p>((?:\d+=\d+ ?){8})</p>", done.stdout)
    for pair in found.split():
        inside, needs = pair.split("=")
        assert inside == needs
