"""Evidence by the command: of a box with a month of calls, from which a subject is then erased."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from policies.facts import Manifest, Outcome
from policies.payload import Payload
from tests.commands import within
from toolkit.box import Box, Context
from toolkit.new_box import create_box

MODEL = Manifest(
    format=1, name="minilm", version="1", digest="ab" * 32, task="embed", licence="MIT", inputs=(), outputs=()
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A box with calls of two persons, and a head that its auditor kept from in between."""
    folder = tmp_path_factory.mktemp("evidence")
    create_box(folder / "box")
    box = Box(folder / "box" / "sealpress.toml")
    box.journal.record("loaded", {"manifest": {"digest": MODEL.digest}, "measurements": {}}, "clinic")
    for number in range(6):
        call = box.call(
            "infer", MODEL.digest, Context(purpose="search", subject=f"person-{number % 2}"), "ed25519:none"
        )
        call = replace(call, sealed=box.journal.sealed, usage=0)
        decision = box.policy.decide(MODEL, call)
        entry = box.journal.opened(call, MODEL, decision, Payload.checked({"texts": ["a canary in the coal mine"]}))
        if decision.allowed:
            box.journal.closed(entry, Outcome(ok=True, usage={"texts": 1}))
    box.journal.close()
    assert within(folder / "box", "journal", "head", "--out", folder / "kept.head").returncode == 0
    return folder


def run(folder: Path, *arguments: str | Path, fails: int = 0) -> Any:
    ran = within(folder / "box", "audit", *arguments, "--json")
    assert ran.returncode == fails, ran.stderr
    return json.loads(ran.stdout or ran.stderr)


def test_evidence_is_made_verified_and_outlives_an_erasure(folder: Path) -> None:
    key: tuple[str | Path, ...] = ("--auditor-key", folder / "box-auditor" / "auditor.key")
    planned = run(folder, "evidence", "--out", folder / "old.zip", "--dry-run", *key)
    assert planned["dry_run"]
    assert not (folder / "old.zip").exists()
    made = run(folder, "evidence", "--out", folder / "old.zip", *key, "--head", folder / "kept.head")
    # that it was made is a record more
    assert made["records"] > planned["records"]
    assert b"canary" not in (folder / "old.zip").read_bytes()

    def verified(name: str, *more: str | Path) -> Any:
        return run(folder, "verify", folder / name, "--head", folder / "kept.head", "--nonce", "seven blue cups", *more)

    before = verified("old.zip")
    assert before["witnessed"]
    assert before["counts"] == made["counts"]
    assert before["sha256"] == made["sha256"]
    assert sum(before["counts"]["records"].get(kind, 0) for kind in ("allowed", "refused")) == 6

    erased = within(folder / "box", "subject", "erase", "person-1", "--ground", "Art. 17")
    assert erased.returncode == 0, erased.stderr
    assert verified("old.zip") == before
    run(folder, "evidence", "--out", folder / "new.zip", *key, "--head", folder / "kept.head")
    after = verified("new.zip")
    unread = after["counts"]["unread"]
    assert {name.split()[1] for name in unread} == {"erased"}
    assert sum(count for name, count in unread.items() if name.split()[0] in ("allowed", "refused")) == 3
    assert after["counts"]["records"]["noted"] > before["counts"]["records"]["noted"]


def test_what_does_not_hold_ends_with_its_reason(folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "e.zip"
    run(folder, "evidence", "--out", file, "--auditor-key", folder / "box-auditor" / "auditor.key")
    refused = run(folder, "verify", file, "--from", "2020-01-01", "--to", "2100-01-01", fails=1)
    assert "evidence_period" in json.dumps(refused)
    other = run(folder, "verify", file, "--key", "0" * 64, fails=1)
    assert "genesis_signature" in json.dumps(other)
    assert run(folder, "evidence", "--out", file, "--auditor-key", "nowhere", fails=2)
    for wrong in (("--from", "soon"), ("--from", "2020-01-01")):
        assert within(folder / "box", "audit", "verify", file, *wrong).returncode == 2


def test_the_verifier_is_one_file_that_is_the_same_each_time(folder: Path, tmp_path: Path) -> None:
    first = run(folder, "verifier", "--out", tmp_path / "one.pyz")
    second = run(folder, "verifier", "--out", tmp_path / "two.pyz")
    assert first["sha256"] == second["sha256"]
    assert first["bytes"] <= 300_000
    run(folder, "verifier", "--out", tmp_path / "one.pyz", fails=2)
