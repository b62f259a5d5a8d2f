"""Bundles: the golden one stays readable, the attacks stay refused, and nothing half-written stays behind."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import pytest
from msgspec import UNSET

from compliance import disk
from compliance.keys import to_text
from policies.errors import Fault
from tests.vectors.make_bundles import HERE, SIGNER
from toolkit.bundle import Bundle, write_bundle
from toolkit.modification import Spent
from toolkit.runtime.lane import Lane
from toolkit.texts import must_carry, papers_in

TRUSTED = (to_text(SIGNER.public),)
GOLDEN_LINEAGE = "a60cab0937282ec5625e7b6d38c266b1ce370f5e7ab6cb8c6f029fce5dd888d9"
ATTACKS = {
    "flipped-bit-in-the-weights": "bundle_digest",
    "truncated-model": "bundle_digest",
    "licence-rewritten": "bundle_digest",
    "licence-text-removed": "bundle_incomplete",
    "file-added": "bundle_incomplete",
    "signature-removed": "bundle_incomplete",
    "signed-by-a-stranger": "bundle_signer",
    "strangers-signature-under-the-signers-name": "bundle_signature",
    "statement-rewritten-after-signing": "bundle_signature",
    "signature-spelled-another-way": "bundle_malformed",
    "weights-in-another-file": "model_external_data",
    "pickle-for-a-model": "model_malformed",
    "operator-of-somebody-else": "model_malformed",
    "ancestor-left-out-of-the-licence": "licence_left_out",
}


def opened(path: Path) -> Lane:
    found = Bundle.read(path, TRUSTED)
    return Lane(found.model, found.manifest.digest, found.reader())


def test_the_golden_bundle_is_read_as_it_was_written() -> None:
    found = Bundle.read(HERE / "golden-v1", TRUSTED)
    assert found.manifest.digest == found.manifest.computed_digest()
    assert found.manifest.digest == "df007874a60c402944dd6889ecee298ea1c3f4fe37ac511628e62b574102ba09"
    assert found.manifest.lineage[0].licence == "MIT"
    assert found.signer == TRUSTED[0]
    tokens = opened(HERE / "golden-v1").reader.feeds(["where is the ward", "is"])
    assert tokens["input_ids"].tolist() == [[2, 3, 4, 5], [3, 0, 0, 0]]
    assert tokens["attention_mask"].tolist() == [[1, 1, 1, 1], [1, 0, 0, 0]]


def test_the_golden_modification_is_read_as_it_was_written() -> None:
    found = Bundle.read(HERE / "golden-modification-v1", TRUSTED).modification
    assert found is not None
    assert (found.steps, found.declared, found.fidelity) == (("sparsify", "distil"), "fidelity>=0.95", 0.95)
    assert (found.finding, found.why) == (
        "needs a person",
        "below the fidelity that was declared: class short",
    )
    assert found.spent == Spent(flops=1_200_000_000, cpu_s=3.5)
    assert Bundle.read(HERE / "golden-v1", TRUSTED).modification is None  # of an earlier release


def test_the_golden_lineage_is_read_as_it_was_written() -> None:
    found, content = Bundle.with_content(HERE / "golden-lineage-v1", TRUSTED)
    assert found.manifest.digest == GOLDEN_LINEAGE
    assert [(one.name, one.relation) for one in found.manifest.lineage] == [
        ("my-adapter", "adapter"),
        ("org/merge", "parent"),
        ("org/base", "merged"),
        ("texts.txt", "calibration"),
        ("marked.jsonl", "training"),
    ]
    told = {one.words: one.text for one in papers_in(content)}
    assert [told.get(one.text or "") for one in found.manifest.lineage] == [
        "MIT",
        "LicenseRef-scancode-llama-3.2-license-2024",
        "Apache-2.0",
        None,
        "CC-BY-4.0",
    ]
    must_carry(found.manifest, content)
    # bundles of earlier releases name no texts
    assert [one.text for one in Bundle.read(HERE / "golden-v1", TRUSTED).manifest.lineage] == [UNSET]


def test_every_attack_has_its_answer() -> None:
    assert {path.name for path in (HERE / "attacks").iterdir()} == set(ATTACKS)


@pytest.mark.parametrize(("name", "code"), ATTACKS.items())
def test_an_attack_is_refused_for_what_is_wrong_with_it(name: str, code: str) -> None:
    with pytest.raises(Fault) as caught:
        opened(HERE / "attacks" / name)
    assert caught.value.code == code


def again(path: Path) -> Bundle:
    """The golden bundle, written anew."""
    golden = Bundle.read(HERE / "golden-v1", TRUSTED)
    files = {name: (golden.path / name).read_bytes() for name in golden.manifest.files}
    return write_bundle(path, golden.manifest, files, golden.measurements, SIGNER)


def test_the_same_inputs_give_the_same_bytes(tmp_path: Path) -> None:
    written = again(tmp_path / "one.bundle")
    for path in (HERE / "golden-v1").iterdir():
        assert (written.path / path.name).read_bytes() == path.read_bytes(), path.name


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    again(tmp_path / "one.bundle")
    with pytest.raises(Fault) as caught:
        again(tmp_path / "one.bundle")
    assert caught.value.code == "bundle_exists"


@pytest.mark.parametrize("failing", ["manifest.json", "model.onnx", "signature.json"])
def test_a_full_disk_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str) -> None:
    real = disk.write_synced

    def full(path: Path, data: bytes) -> Any:
        if path.name == failing:
            path.write_bytes(data[:3])
            raise OSError(errno.ENOSPC, "No space left on device")
        real(path, data)

    monkeypatch.setattr(disk, "write_synced", full)
    with pytest.raises(Fault) as caught:
        again(tmp_path / "one.bundle")
    assert caught.value.code == "disk"
    assert list(tmp_path.iterdir()) == []
