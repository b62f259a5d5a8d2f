"""`sealpress audit report` on a journal with several days of traffic, up to the page in a browser."""

from __future__ import annotations

import html
import json
import re
import shlex
import shutil
import subprocess
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from compliance.crypto import Opener
from compliance.journal.reader import read
from compliance.journal.records import Noted
from compliance.keys import read_key
from compliance.state.disposition import Disposition
from compliance.state.salts import Salts
from policies.facts import Call, Decision, Finding, Manifest, Outcome
from policies.payload import Payload
from tests.conftest import Run
from tests.journals import notes_of
from toolkit.box import Box
from toolkit.new_box import create_box

DAY = 86_400 * 10**9
CANARY = "the-patient-in-bed-four"
RULES = ("purpose.stated", "privacy.basis", "licence.commercial")
MODEL = Manifest(
    format=1, name="small-int8", version="1", digest="d0" * 32, task="t", licence="Apache-2.0", inputs=(), outputs=()
)
ABOUT = {
    "manifest": {
        "name": MODEL.name,
        "version": MODEL.version,
        "digest": MODEL.digest,
        "licence": MODEL.licence,
        "lineage": [{"name": "large", "digest": "e1" * 32, "licence": "Apache-2.0", "relation": "parent"}],
        "recipe": [{"kind": "export"}, {"kind": "int8", "per_channel": True}],
    },
    "measurements": {
        "before": {"size_bytes": 90_868_373, "latency_ms": 9.91, "fidelity": 1.0},
        "after": {"size_bytes": 22_963_344, "latency_ms": 4.2, "fidelity": 0.9913},
        "machine": "two cores",
    },
}


def ask(box: Box, number: int, at: int, rule: str | None = None, purpose: str | None = "search") -> None:
    """One call at this time, allowed or refused by the rule; every fortieth never ends."""
    call = Call(
        id=f"{number:032x}", at=at, actor="a", tenant="t", action="infer", model=MODEL.digest, purpose=purpose,
        subject=CANARY,
    )  # fmt: skip
    findings = tuple(Finding(rule=name, ok=name != rule, reason="no") for name in RULES)
    decision = Decision(allowed=rule is None, findings=findings, policy="b7" * 32)
    entry = box.journal.opened(call, MODEL, decision, Payload(value={"texts": [CANARY]}))
    if rule is None and number % 40:
        box.journal.closed(entry, Outcome(ok=True))


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A box with nine days of calls: 180 allowed, five of them without an outcome, and 27 refused."""
    folder = tmp_path_factory.mktemp("written") / "edge-17"
    create_box(folder)
    box = Box.open(folder / "sealpress.toml")
    box.journal.record("loaded", ABOUT, "t")
    start = time.time_ns() // DAY * DAY - 9 * DAY
    number = 0
    for day in range(9):
        for hour in range(23):
            number += 1
            at = start + day * DAY + hour * DAY // 24
            rule = RULES[hour // 10] if hour % 10 == 9 else None
            rule = RULES[2] if hour == 22 else rule
            ask(box, number, at, rule, None if rule == RULES[0] else "search" if hour < 15 else "assistance")
        box.journal.checkpoint()
    box.journal.close()
    return folder


@pytest.fixture
def edge(written: Path, tmp_path: Path) -> Path:
    """A box of one's own, with the auditor's key beside it as init leaves it."""
    shutil.copytree(written.with_name("edge-17-auditor"), tmp_path / "edge-17-auditor")
    return Path(shutil.copytree(written, tmp_path / "edge-17"))


@pytest.fixture(scope="module")
def report(written: Path, sealpress: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report with the auditor's key."""
    out = tmp_path_factory.mktemp("report")
    key = written.with_name("edge-17-auditor") / "auditor.key"
    done = sealpress("audit", "report", "--out", out, "--auditor-key", key, cwd=written)
    assert done.returncode == 0, done.stderr
    return out / "report.html"


def seen(page: str) -> str:
    """What a reader sees, in one line."""
    body = re.sub(r"<style>.*?</style>", " ", page, flags=re.DOTALL)
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", body)).split())


def expected(page: Path) -> tuple[int, int, int]:
    """The counts on the cards: allowed, refused, without an outcome."""
    found = re.search(r"([\d,]+) calls allowed ([\d,]+) calls refused ([\d,]+) without", seen(page.read_text("utf-8")))
    assert found
    allowed, refused, unfinished = (int(number.replace(",", "")) for number in found.groups())
    return allowed, refused, unfinished


def test_with_the_key_every_number_is_recounted(report: Path) -> None:
    page = seen(report.read_text("utf-8"))
    assert expected(report) == (180, 27, 5)
    for said in (
        "recounted with the auditor’s key",  # noqa: RUF001 - as it is typeset
        "done 175 without an outcome 5 refused 27 all 207",
        "licence.commercial 9 privacy.basis 9 purpose.stated 9",
        "search 126 0 assistance 54 18 none stated 0 9",
        "large (Apache-2.0, 90.9 MB) → export → int8 → small-int8 1 (Apache-2.0, 23.0 MB)",
        "was found at edge-17-auditor/auditor.key",
    ):
        assert said in page
    assert len(re.findall(r"\d+ \w+ 20\d\d: 20 allowed, 3 refused", page)) == 9


def test_a_real_model_is_shown_with_its_own_papers(box: Path, sealpress: Run) -> None:
    shown = json.loads(sealpress("show", "minilm.bundle", "--json", cwd=box).stdout)
    assert sealpress("run", "minilm.bundle", "--text", CANARY, "--purpose", "search", cwd=box).returncode == 0
    assert sealpress("run", "minilm.bundle", "--text", CANARY, cwd=box).returncode == 1
    key = box.with_name("box-auditor") / "auditor.key"
    done = sealpress("audit", "report", "--out", "out", "--auditor-key", key, cwd=box)
    assert done.returncode == 0, done.stderr
    page = seen((box / "out" / "report.html").read_text("utf-8"))
    manifest, measured = shown["manifest"], shown["measurements"]
    for digest in (manifest["digest"], manifest["lineage"][0]["digest"]):
        assert digest in page.replace(" ", "")
    assert f"{measured['before']['fidelity']:.4f} → {measured['after']['fidelity']:.4f}" in page
    assert "purpose.stated 1" in page
    # beside the call that was made here, those that measured how the model runs best
    assert re.search(r"in \d+ calls? that it answered", page)


def test_nothing_of_a_payload_and_nobody_s_name_is_on_the_page(report: Path) -> None:
    assert CANARY not in report.read_text("utf-8")


def test_without_the_key_only_signed_counters_are_shown(edge: Path, sealpress: Run) -> None:
    shutil.rmtree(edge.with_name("edge-17-auditor"))
    done = sealpress("audit", "report", "--out", "reports/november", "--json", cwd=edge)
    assert done.returncode == 0, done.stdout
    value = json.loads(done.stdout)
    path = edge / value.pop("report")
    assert value == {
        "recounted": False,
        "records": value["records"],
        "allowed": 180,
        "refused": 27,
        "unfinished": 5,
        "unsealed": 0,
        "erased": None,
        "witnessed": False,
    }
    assert expected(path) == (180, 27, 5)
    page = seen(path.read_text("utf-8"))
    assert "Not shown: sealed to the auditor." in page
    assert "private key lies with the box" not in page
    for sealed in ("small-int8", "assistance", "Calls by purpose"):
        assert sealed not in page


def test_the_commands_on_the_page_work_on_a_copy_without_keys(edge: Path, report: Path, sealpress: Run) -> None:
    copy = edge.parent / "copy" / "edge-17"
    copy.mkdir(parents=True)
    shutil.copy(edge / "sealpress.toml", copy)
    shutil.copytree(edge / "journal", copy / "journal")
    verify, compare = re.findall(r'<span class="code">(.*?)</span>', report.read_text("utf-8"))
    command = shlex.split(html.unescape(verify))
    assert command[:3] == ["sealpress", "journal", "verify"]
    assert sealpress(*command[1:], cwd=copy.parent).returncode == 0
    found = subprocess.run(
        shlex.split(html.unescape(compare)), cwd=copy.parent, check=True, capture_output=True, text=True
    )
    assert found.stdout.startswith("sealpress.journal/")
    assert "\nallowed 180\nrefused 27\n" in found.stdout


def test_a_journal_that_does_not_hold_gives_no_report(edge: Path, sealpress: Run) -> None:
    log = edge / "journal" / "shard-000.log"
    content = bytearray(log.read_bytes())
    content[len(content) // 2] ^= 1
    log.write_bytes(content)
    key = edge.with_name("edge-17-auditor") / "auditor.key"
    for more in ((), ("--auditor-key", key)):
        done = sealpress("audit", "report", "--out", "out", *more, "--json", cwd=edge)
        assert done.returncode == 1
        assert json.loads(done.stdout)["code"] == "journal_not_verified"
        assert not (edge / "out").exists()


def test_another_auditor_s_key_gives_no_report(edge: Path, sealpress: Run) -> None:
    create_box(edge.with_name("other"))
    key = edge.with_name("other-auditor") / "auditor.key"
    done = sealpress("audit", "report", "--out", "out", "--auditor-key", key, "--json", cwd=edge)
    assert (done.returncode, json.loads(done.stdout)["code"]) == (1, "epoch_sealed")
    assert not (edge / "out").exists()


def reads(box: Box, opener: Opener) -> list[dict[str, object]]:
    """What the journal tells of reads."""
    with closing(Salts(box.salts_path)) as salts:
        told = [record.metadata for record in read(box.journal_folder, box.journal.id, opener, salts)]
    return [note.data for note in told if isinstance(note, Noted) and note.kind == "read"]


def test_a_report_with_the_key_is_on_record_as_a_read(edge: Path, sealpress: Run) -> None:
    key = edge.with_name("edge-17-auditor") / "auditor.key"
    box, opener = Box.open(edge / "sealpress.toml"), Opener(read_key(key, "auditor-private"))
    before = reads(box, opener)
    for more in ((), ("--auditor-key", key)):
        assert sealpress("audit", "report", "--out", f"out{len(more)}", *more, cwd=edge).returncode == 0
    *same, told = reads(box, opener)
    assert same == before
    assert told["auditor"] == opener.fingerprint.hex()
    assert str(told["report"]) in seen((edge / "out2" / "report.html").read_text("utf-8")).replace(" ", "")


def test_a_head_from_outside_is_compared_and_said(edge: Path, sealpress: Run) -> None:
    head = edge / "box.head"
    joint = notes_of(edge / "journal" / "journal.heads")
    head.write_text(joint[-2].removesuffix("\n"))
    done = sealpress("audit", "report", "--out", "out", "--head", head, "--json", cwd=edge)
    assert done.returncode == 0, done.stdout
    assert json.loads(done.stdout)["witnessed"] is True
    page = seen((edge / "out" / "report.html").read_text("utf-8"))
    assert "a head held outside was given" in page
    assert "Unwitnessed" not in page
    create_box(edge.with_name("other"))
    shutil.copy(edge.with_name("other") / "journal" / "journal.heads", head)
    done = sealpress("audit", "report", "--out", "more", "--head", head, "--json", cwd=edge)
    assert (done.returncode, json.loads(done.stdout)["code"]) == (1, "journal_not_verified")


def test_keys_that_lie_with_the_box_are_said(edge: Path, sealpress: Run) -> None:
    create_box(edge.with_name("other"))
    shutil.copy(edge.with_name("other-root") / "root.key", edge / "keys" / "spare.key")
    moved = shutil.move(edge.with_name("edge-17-auditor") / "auditor.key", edge / "mine")
    assert sealpress("audit", "report", "--out", "out", "--auditor-key", moved, cwd=edge).returncode == 0
    page = seen((edge / "out" / "report.html").read_text("utf-8"))
    assert "private key lies with the box. It was found at edge-17/mine." in page
    assert "root key lies with the box. It was found at edge-17/keys/spare.key." in page


def test_a_report_is_never_overwritten(edge: Path, sealpress: Run) -> None:
    (edge / "out").mkdir()
    (edge / "out" / "report.html").write_text("mine")
    done = sealpress("audit", "report", "--out", "out", "--json", cwd=edge)
    assert (done.returncode, json.loads(done.stdout)["code"]) == (2, "report_exists")
    assert (edge / "out" / "report.html").read_text() == "mine"
    assert list((edge / "out").iterdir()) == [edge / "out" / "report.html"]


def test_records_behind_the_last_head_are_left_out_and_said(edge: Path, sealpress: Run) -> None:
    for heads in ("shard-000.heads", "journal.heads"):
        # as a kill -9 leaves them: the last heads were not written yet
        path = edge / "journal" / heads
        path.write_text("".join(notes_of(path)[:-2]))
    key = edge.with_name("edge-17-auditor") / "auditor.key"
    done = sealpress("audit", "report", "--out", "out", "--auditor-key", key, "--json", cwd=edge)
    assert done.returncode == 0, done.stdout
    value = json.loads(done.stdout)
    assert value["unsealed"] > 0
    assert value["allowed"] + value["refused"] < 207
    assert expected(edge / "out" / "report.html") == (value["allowed"], value["refused"], value["unfinished"])
    assert f"{value['unsealed']} record" in seen((edge / "out" / "report.html").read_text("utf-8"))


def test_erased_calls_stay_counted(edge: Path, sealpress: Run) -> None:
    with Disposition.open(edge / "state" / "salts.sqlite") as disposition:
        groups = [group for group in disposition.groups() if group.purpose == "search"]
        disposition.expire("t", groups)
    key = edge.with_name("edge-17-auditor") / "auditor.key"
    done = sealpress("audit", "report", "--out", "out", "--auditor-key", key, "--json", cwd=edge)
    assert done.returncode == 0, done.stdout
    value = json.loads(done.stdout)
    assert (value["allowed"], value["refused"]) == (180, 27)
    assert value["erased"] == 126 + 124  # two of the calls never ended
    assert "erased:" in seen((edge / "out" / "report.html").read_text("utf-8"))


@pytest.fixture
def chromium(tmp_path: Path) -> Callable[..., str]:
    """Run a browser without a window and without the network; returns what it prints."""
    command = shutil.which("chromium")
    if command is None:
        pytest.skip("there is no chromium on this machine")
    switches = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--hide-scrollbars",
        f"--user-data-dir={tmp_path / 'profile'}",
    ]

    def run(*arguments: str) -> str:
        done = subprocess.run([command, *switches, *arguments], check=True, capture_output=True, text=True, timeout=120)
        return done.stdout

    return run


@pytest.mark.parametrize("width", [1100, 640, 390, 320])
def test_nothing_is_wider_than_the_window(
    report: Path, chromium: Callable[..., str], tmp_path: Path, width: int
) -> None:
    # a window has a least width of its own, a frame has none
    frame = tmp_path / "frame.html"
    page = html.escape(report.read_text("utf-8"))
    frame.write_text(
        f'<iframe style="border: 0; width: {width}px; height: 800px" srcdoc="{page}"></iframe><p></p><script>'
        "const frame = document.querySelector('iframe');"
        "frame.onload = () => { const root = frame.contentDocument.documentElement;"
        "document.querySelector('p').textContent = `inside ${root.clientWidth} needs ${root.scrollWidth}`; }</script>",
        "utf-8",
    )
    found = re.search(r"<p>inside (\d+) needs (\d+)</p>", chromium("--dump-dom", frame.as_uri()))
    assert found
    inside, needs = map(int, found.groups())
    assert width - 20 <= inside <= width
    assert needs == inside


def test_the_page_has_a_picture_on_screen_and_on_paper(
    report: Path, chromium: Callable[..., str], tmp_path: Path
) -> None:
    picture, paper = tmp_path / "wide.png", tmp_path / "report.pdf"
    chromium("--window-size=1100,1700", f"--screenshot={picture}", report.as_uri())
    chromium("--no-pdf-header-footer", f"--print-to-pdf={paper}", report.as_uri())
    content = picture.read_bytes()
    assert content.startswith(b"\x89PNG")
    assert int.from_bytes(content[16:20], "big") == 1100
    # a blank page of this size has some 10 kB
    assert len(content) > 60_000
    assert paper.read_bytes().startswith(b"%PDF")
    assert len(re.findall(rb"/Type\s*/Page\b", paper.read_bytes())) in {2, 3}
