"""No inference without a prior sealed record: each link of the chain is taken away in turn, and no session runs."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

import sealpress as front
from policies.errors import Fault
from policies.gate import Grant
from policies.payload import Payload
from tests.conftest import Run
from tests.e2e.conftest import Spy
from toolkit.box import Box

TEXT = "where is the ward?"


def _erroring_rule(box: Path) -> None:
    (box / "mine.cedar").write_text(
        '@id("mine.overflow") @reason("Overflows.") forbid (principal, action, resource)'
        " when { context.at * 9223372036854775807 > 0 };"
    )
    settings = box / "sealpress.toml"
    settings.write_text(settings.read_text().replace("rules = []", 'rules = ["mine.cedar"]'))


def _empty_policy(box: Path) -> None:
    settings = box / "sealpress.toml"
    settings.write_text(settings.read_text().replace('packs = ["base", "gdpr", "licence"]', "packs = []"))


def _no_auditor(box: Path) -> None:
    shutil.rmtree(box / "keys" / "auditors")


def _no_day_keys(box: Path) -> None:
    shutil.rmtree(box / "keys" / "days")


def _other_journal(box: Path) -> None:
    other = box.parent / "third"
    front_init(other)
    shutil.rmtree(box / "journal")
    shutil.copytree(other / "journal", box / "journal")


def _no_journal(box: Path) -> None:
    for path in (box / "journal").iterdir():
        path.unlink()
    (box / "journal").rmdir()


def _no_salts(box: Path) -> None:
    (box / "state" / "salts.sqlite").unlink()


def _journal_cut(box: Path) -> None:
    log = box / "journal" / "shard-000.log"
    log.write_bytes(log.read_bytes()[:2000])


def front_init(folder: Path) -> None:
    command = Path(sys.executable).with_name("sealpress")
    subprocess.run([command, "init", folder], check=True, capture_output=True)


LINKS: list[tuple[Callable[[Path], None], str]] = [
    (_erroring_rule, "denied"),
    (_empty_policy, "policy_empty"),
    (_no_auditor, "auditor_missing"),
    (_no_day_keys, "day_key_missing"),
    (_other_journal, "journal_foreign"),
    (_no_journal, "journal_missing"),
    (_no_salts, "state_missing"),
    (_journal_cut, "journal_broken"),
]


@pytest.mark.parametrize(("take_away", "code"), LINKS)
def test_the_command_runs_nothing(
    box: Path, sealpress: Run, spy: Spy, take_away: Callable[[Path], None], code: str
) -> None:
    take_away(box)
    done = sealpress("run", "minilm.bundle", "--text", TEXT, "--purpose", "search", "--json", cwd=box, env=spy.env)
    assert done.returncode != 0
    assert json.loads(done.stdout)["code"] == code
    assert spy.runs() == 0


@pytest.mark.parametrize(("take_away", "code"), LINKS)
def test_the_import_runs_nothing(box: Path, runs: list[str], take_away: Callable[[Path], None], code: str) -> None:
    take_away(box)
    with pytest.raises(Fault) as caught:
        front.load(box / "minilm.bundle", box / "sealpress.toml").embed([TEXT], purpose="search")
    assert caught.value.code == code
    assert runs == []


def test_a_full_disk_runs_nothing(box: Path, spy: Spy) -> None:
    log = box / "journal" / "shard-000.log"
    # the log is the largest file of the box, so that it is the first to be full
    with closing(Box.open(box / "sealpress.toml").journal) as journal:
        for _ in range(3):
            journal.record("test", {"text": TEXT * 2000}, "local")
    before = log.read_bytes()
    # files may not grow beyond what the log has already: the next record is where it fails
    command = f"ulimit -f {len(before) // 1024}; exec {sys.executable} -c 'import sealpress; sealpress.main()' \"$@\""
    arguments = ("run", "minilm.bundle", "--text", TEXT, "--purpose", "search", "--json")
    done = subprocess.run(
        ["bash", "-c", command, "sealpress", *arguments],
        cwd=box,
        # a compiled module that was cut short by the limit would stay in the checkout
        env={**spy.env, "PATH": "/usr/bin:/bin", "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 3, done.stdout + done.stderr
    assert json.loads(done.stdout)["code"] == "journal_write"
    assert spy.runs() == 0
    assert log.read_bytes() == before


def test_a_foreign_payload_on_a_grant_runs_nothing(box: Path, runs: list[str]) -> None:
    model = front.load(box / "minilm.bundle", box / "sealpress.toml")
    forged = Grant()
    with pytest.raises(AttributeError):
        forged.payload = Payload(value={"texts": [TEXT]})  # type: ignore[misc] # that it cannot be set is the test
    with pytest.raises(Fault) as caught:
        model._lane.run([forged], model._box.policy.digest)
    assert caught.value.code == "grant_missing"
    assert runs == []


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every run of a session in this process; the real call goes on."""
    import onnxruntime

    seen: list[str] = []
    real = onnxruntime.InferenceSession.run

    def counted(self: object, *arguments: object, **options: object) -> object:
        seen.append("run")
        return real(self, *arguments, **options)

    monkeypatch.setattr(onnxruntime.InferenceSession, "run", counted)
    return seen


def test_the_count_counts(box: Path, runs: list[str]) -> None:
    front.load(box / "minilm.bundle", box / "sealpress.toml").embed([TEXT], purpose="search")
    assert runs == ["run"]
