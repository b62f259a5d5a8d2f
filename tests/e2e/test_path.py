"""The main path, walked from the command line on a real model: press, gate, run, seal, verify, read."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.conftest import Run
from tests.e2e.conftest import Spy

PERSONAL = "please write to jane.doe@example.org about her visit"


def value(done: Any) -> Any:
    """What a command printed with --json."""
    return json.loads(done.stdout)


def against(refusal: Any) -> list[str]:
    return [finding["rule"] for finding in refusal["findings"] if not finding["ok"]]


def test_the_bundle_shows_what_was_gained_and_lost(box: Path, sealpress: Run) -> None:
    shown = value(sealpress("show", "minilm.bundle", "--json", cwd=box))
    before, after = shown["measurements"]["before"], shown["measurements"]["after"]
    assert shown["manifest"]["licence"] == "Apache-2.0"
    assert shown["manifest"]["lineage"][0]["relation"] == "parent"
    assert after["size_bytes"] == (box / "minilm.bundle" / "model.onnx").stat().st_size
    assert after["size_bytes"] < before["size_bytes"] / 3.5
    assert before["fidelity"] > 0.9999
    assert after["fidelity"] > 0.98
    assert before["latency_ms"] > 0
    assert after["latency_ms"] > 0
    names = {path.name for path in (box / "minilm.bundle").iterdir()}
    assert names == {
        "model.onnx", "manifest.json", "measurements.json", "modification.json", "tokenizer.json", "LICENSE",
        "signature.json",
    }  # fmt: skip


def test_an_allowed_call_answers_and_is_on_record(box: Path, sealpress: Run, spy: Spy) -> None:
    done = sealpress(
        "run", "minilm.bundle", "--text", "where is the ward?", "--text", "on the third floor", "--purpose", "search",
        "--json", cwd=box, env=spy.env,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    embeddings = np.array(value(done)["embeddings"])
    assert embeddings.shape == (2, 384)
    assert np.linalg.norm(embeddings, axis=1) == pytest.approx(1.0, abs=1e-5)
    assert spy.runs() == 2
    verified = value(sealpress("journal", "verify", "--json", cwd=box))
    assert verified["ok"]
    assert verified["failures"] == []
    assert verified["unfinished"] == 0


@pytest.mark.parametrize(
    ("arguments", "rules"),
    [
        (("--text", "where is the ward?"), ["purpose.stated"]),
        (("--text", "where is the ward?", "--purpose", "amusement"), ["purpose.declared"]),
        (("--text", PERSONAL, "--purpose", "search"), ["privacy.basis"]),
        (
            ("--text", PERSONAL, "--purpose", "search", "--basis", "vital_interests"),
            ["basis.permitted"],
        ),
    ],
)
def test_a_refused_call_names_the_rule_and_runs_nothing(
    box: Path, sealpress: Run, spy: Spy, arguments: tuple[str, ...], rules: list[str]
) -> None:
    done = sealpress("run", "minilm.bundle", *arguments, "--json", cwd=box, env=spy.env)
    assert done.returncode == 1
    refusal = value(done)
    assert refusal["code"] == "denied"
    assert refusal["hint"]
    assert against(refusal) == rules
    assert any(finding["ok"] for finding in refusal["findings"])
    assert spy.runs() == 0


def test_personal_data_with_a_basis_is_allowed(box: Path, sealpress: Run) -> None:
    arguments = ("--text", PERSONAL, "--purpose", "search", "--basis", "contract", "--subject", "patient-17")
    done = sealpress("run", "minilm.bundle", *arguments, cwd=box)
    assert done.returncode == 0, done.stderr
    assert "1 embeddings of 384 numbers" in done.stdout


def test_a_commercial_purpose_is_refused_on_a_noncommercial_licence(
    pressed_nc: Path, tmp_path: Path, sealpress: Run, spy: Spy
) -> None:
    box = shutil.copytree(pressed_nc, tmp_path / "box")
    run = ("run", "nc.bundle", "--text", "where is the ward?", "--json", "--purpose")
    refused = sealpress(*run, "product", cwd=box, env=spy.env)
    assert refused.returncode == 1
    assert against(value(refused)) == ["licence.commercial"]
    assert spy.runs() == 0
    assert sealpress(*run, "search", cwd=box).returncode == 0
    shown = value(sealpress("show", "nc.bundle", "--json", cwd=box))
    assert shown["manifest"]["licence"] == "CC-BY-NC-4.0"


def test_the_auditor_reads_what_happened(box: Path, sealpress: Run) -> None:
    sealpress("run", "minilm.bundle", "--text", "where is the ward?", "--purpose", "search", cwd=box)
    sealpress("run", "minilm.bundle", "--text", PERSONAL, "--purpose", "search", cwd=box)
    key = box.with_name("box-auditor") / "auditor.key"
    records = value(sealpress("journal", "read", "--auditor-key", key, "--json", cwd=box))["records"]
    calls = [record for record in records if record["metadata"]["record"] == "opened"]
    *made, allowed, refused = calls
    # a new bundle is measured, and each model that is run for it asks the gate
    assert {call["metadata"]["call"]["action"] for call in made} == {"compress", "measure"}
    assert {call["metadata"]["call"]["action"] for call in (allowed, refused)} == {"infer"}
    assert allowed["metadata"]["allowed"]
    assert allowed["payload"]["value"] == {"texts": ["where is the ward?"]}
    assert not refused["metadata"]["allowed"]
    assert refused["metadata"]["call"]["data"] == ["email"]
    assert [finding["rule"] for finding in refused["metadata"]["against"]] == ["privacy.basis"]
    assert refused["payload"] is None  # a refused payload has no ground on which it could be kept
    digest = value(sealpress("show", "minilm.bundle", "--json", cwd=box))["manifest"]["digest"]
    assert allowed["metadata"]["model"]["digest"] == digest
    for_people = sealpress("journal", "read", "--auditor-key", key, cwd=box)
    assert "refused by privacy.basis" in for_people.stdout


def test_another_auditors_key_reads_nothing(box: Path, sealpress: Run, tmp_path: Path) -> None:
    sealpress("init", tmp_path / "other", cwd=tmp_path)
    key = tmp_path / "other-auditor" / "auditor.key"
    done = sealpress("journal", "read", "--auditor-key", key, "--json", cwd=box)
    assert done.returncode == 1
    assert value(done)["code"] == "epoch_sealed"


def test_one_flipped_byte_names_its_record(box: Path, sealpress: Run) -> None:
    sealpress("run", "minilm.bundle", "--text", "where is the ward?", "--purpose", "search", cwd=box)
    log = box / "journal" / "shard-000.log"
    data = bytearray(log.read_bytes())
    data[-100] ^= 1
    log.write_bytes(data)
    done = sealpress("journal", "verify", "--json", cwd=box)
    assert done.returncode == 1
    result = value(done)
    assert not result["ok"]
    assert [failure["code"] for failure in result["failures"]] == ["record_check"]
    assert result["failures"][0]["place"].startswith("shard-000/")
    refused = sealpress("run", "minilm.bundle", "--text", "x", "--purpose", "search", "--json", cwd=box)
    assert refused.returncode == 3
    assert value(refused)["code"] == "journal_broken"


def test_a_box_is_copied_as_a_folder(box: Path, sealpress: Run, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere" / "ward-3"
    shutil.copytree(box, moved)
    run = ("run", moved / "minilm.bundle", "--text", "hello", "--purpose", "search", "--settings")
    assert sealpress(*run, moved / "sealpress.toml", cwd=tmp_path).returncode == 0
    assert (
        sealpress(
            "journal", "verify", cwd=tmp_path, env={"SEALPRESS_SETTINGS": str(moved / "sealpress.toml")}
        ).returncode
        == 0
    )


def test_a_strangers_bundle_is_refused_until_the_key_is_trusted(box: Path, sealpress: Run, tmp_path: Path) -> None:
    sealpress("init", "other", cwd=tmp_path)
    other = tmp_path / "other"
    run = ("run", box / "minilm.bundle", "--text", "hello", "--purpose", "search", "--json")
    refused = sealpress(*run, cwd=other)
    assert refused.returncode == 1
    assert value(refused)["code"] == "bundle_signer"
    added = sealpress("trust", "add", box / "keys" / "bundle.pub", "--json", cwd=other)
    assert added.returncode == 0, added.stderr
    assert sealpress(*run, cwd=other).returncode == 0
