"""The document in SPDX 3.0.1: as the model of SPDX takes it, the same each time, and nothing made up."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import spdx_python_model
from msgspec import structs

from policies.licences import UNKNOWN
from tests.unit.toolkit.bom.bundles import GOLDENS, HOSTILE, changed, full, golden
from tests.vectors.make_boms import HERE, SAID
from toolkit.bom.contents import Said
from toolkit.bom.errors import BomError
from toolkit.bom.spdx import spdx
from toolkit.bundle import Bundle

ROOT = Path(__file__).resolve().parents[4]
NOTHING = Said()


def elements(bundle: Bundle, said: Said = NOTHING) -> list[dict[str, Any]]:
    """Every element, read by the library: by the context it takes the model of 3.0.1. No reference leads nowhere."""
    document = json.loads(spdx(bundle, said).decode("ascii"))
    _, found = spdx_python_model.load_data(document)
    assert found.link() <= {"https://spdx.org/rdf/3.0.1/terms/ExpandedLicensing/NoAssertion"}
    every: list[dict[str, Any]] = document["@graph"]
    return every


def of(kind: str, every: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [one for one in every if one["type"] == kind]


def related(every: list[dict[str, Any]]) -> set[tuple[str, str, str, str]]:
    """The relationships by the last parts of the names: from, type, to, comment."""
    return {
        (one["from"].rpartition("#")[2], one["relationshipType"], to.rpartition("#")[2], one.get("comment", ""))
        for one in of("Relationship", every)
        for to in one["to"]
    }


@pytest.mark.parametrize("name", GOLDENS)
def test_every_golden_bundle_becomes_a_document_that_names_each_file(name: str) -> None:
    bundle = golden(name)
    every = elements(bundle)
    (model,) = of("ai_AIPackage", every)
    assert (model["name"], model["software_packageVersion"]) == (bundle.manifest.name, bundle.manifest.version)
    assert model["verifiedUsing"][0]["hashValue"] == bundle.manifest.digest
    files = {one["name"]: one["verifiedUsing"][0]["hashValue"] for one in of("software_File", every)}
    assert files == bundle.digests
    assert files.keys() == {path.name for path in bundle.path.iterdir()}
    held = {to for _, kind, to, _ in related(every) if kind == "contains"}
    assert len(held) == len(files)
    (document,) = of("SpdxDocument", every)
    assert len(document["element"]) == len(every) - 2  # but for itself, and for what has no name


def test_the_golden_document_stands() -> None:
    made = elements(golden("golden-lineage-v1"), SAID)
    kept = json.loads((HERE / "golden-lineage.spdx.json").read_bytes())["@graph"]
    for every in (made, kept):
        (agent,) = of("SoftwareAgent", every)
        agent["name"] = agent["name"].partition(" ")[0]  # which names the release that wrote it
    assert made == kept


def test_the_lineage_becomes_relationships() -> None:
    every = elements(golden("golden-lineage-v1"))
    found = related(every)
    assert {
        ("ancestor-0", "ancestorOf", "model", "adapter"),
        ("ancestor-1", "ancestorOf", "model", "parent"),
        ("ancestor-2", "ancestorOf", "model", "merged"),
        ("model", "other", "data-0", "calibration"),
        ("model", "trainedOn", "data-1", "training"),
    } <= found
    assert [one["name"] for one in of("software_Package", every)] == ["my-adapter", "org/merge", "org/base"]
    terms = {one["spdxId"]: one for one in of("simplelicensing_LicenseExpression", every)}
    declared = {
        one["from"].rpartition("#")[2]: terms[one["to"][0]]["simplelicensing_licenseExpression"]
        for one in of("Relationship", every)
        if one["relationshipType"] == "hasDeclaredLicense"
    }
    assert declared["model"] == golden("golden-lineage-v1").manifest.licence
    assert declared["ancestor-2"] == "Apache-2.0"
    (text,) = of("simplelicensing_SimpleLicensingText", every)
    assert text["name"] == "Llama 3.2 Community License Agreement 2024"
    assert "Meta" in text["simplelicensing_licenseText"]


def test_figures_steps_and_what_training_took_are_told(tmp_path: Path) -> None:
    every = elements(full(tmp_path / "full.bundle"))
    (model,) = of("ai_AIPackage", every)
    metrics = {one["key"]: one["value"] for one in model["ai_metric"]}
    assert metrics["accuracy"] == "0.91"
    assert metrics["fidelity (lower 95 % bound) of class short"] == "0.94"
    assert metrics["fidelity (mean, with its two-sided 90 % interval) of length 1-16"] == "0.97 [0.95, 0.99]"
    steps = {one["key"]: json.loads(one["value"]) for one in model["ai_hyperparameter"]}
    assert steps == {"1. sparsify": {"share": 0.5, "keep": ["head"]}, "2. distil": {"epochs": 2}}
    assert "1200000000 operations and 3.5 CPU-s" in model["ai_informationAboutTraining"]
    assert "How fidelity was found: mean cosine" in model["ai_informationAboutTraining"]
    assert "these purposes alone: triage, search" in model["ai_informationAboutApplication"]
    assert model["ai_limitation"] == "It reads at most 8 tokens of an input."
    (note,) = of("Annotation", every)
    assert json.loads(note["statement"])["finding"] == "needs a person"
    assert {one["name"] for one in of("Tool", every)} == {"sealpress 0.1.0", "onnxruntime 1.32.0"}
    found = related(every)
    assert ("model", "other", "data-0", "calibrate") in found
    assert ("model", "testedOn", "data-1", "evaluate") in found
    (stated,) = {why for of_, kind, _, why in found if of_ == "model" and kind == "hasDeclaredLicense"}
    assert stated.startswith("somebody stated the licence of the source")


def test_it_follows_the_ai_profile_where_all_that_this_asks_for_was_said() -> None:
    bundle = golden("golden-v1")
    for said, follows in (
        (NOTHING, False),
        (structs.replace(SAID, released=None), False),
        (structs.replace(SAID, location=None), False),
        (SAID, True),
    ):
        every = elements(bundle, said)
        (document,) = of("SpdxDocument", every)
        assert ("ai" in document["profileConformance"]) is follows
        # what the profile asks for: model/AI/AI.md and model/AI/Classes/AIPackage.md of SPDX 3.0.1
        (model,) = of("ai_AIPackage", every)
        asked = {"suppliedBy", "software_downloadLocation", "software_packageVersion", "releaseTime"}
        assert (asked <= model.keys()) is follows
        kinds = [kind for of_, kind, _, _ in related(every) if of_ == "model"]
        assert kinds.count("hasDeclaredLicense") == kinds.count("hasConcludedLicense") == 1


def test_a_time_that_nobody_said_is_none() -> None:
    (made,) = of("CreationInfo", elements(golden("golden-v1")))
    assert (made["created"], made["comment"][:24]) == ("1970-01-01T00:00:00Z", "The bundle names no time")
    (made,) = of("CreationInfo", elements(golden("golden-v1"), SAID))
    assert made["created"] == "2026-11-29T12:00:00Z"
    assert "comment" not in made


def test_a_licence_that_nobody_knows_is_not_asserted(tmp_path: Path) -> None:
    parent = structs.replace(golden("golden-v1").manifest.lineage[0], licence=UNKNOWN)
    bundle = changed(tmp_path / "b", lineage=(parent,), licence=f"{UNKNOWN} AND MIT")
    links = {to for of_, kind, to, _ in related(elements(bundle)) if of_ == "ancestor-0" and "License" in kind}
    assert links == {"https://spdx.org/rdf/3.0.1/terms/ExpandedLicensing/NoAssertion"}


def test_the_order_of_sets_does_not_show() -> None:
    """The library keeps sets, whose order in a process hangs on a seed."""
    program = (
        "import sys\nfrom tests.unit.toolkit.bom.bundles import golden\nfrom toolkit.bom.contents import Said\n"
        "from toolkit.bom.spdx import spdx\nsys.stdout.buffer.write(spdx(golden('golden-lineage-v1'), Said()))"
    )
    made = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env={"PYTHONHASHSEED": "1", "PYTHONPATH": str(ROOT)},
        check=True,
        capture_output=True,
    )
    assert made.stdout == spdx(golden("golden-lineage-v1"), NOTHING)


def test_hostile_texts_stay_texts(tmp_path: Path) -> None:
    lineage = (structs.replace(golden("golden-v1").manifest.lineage[0], name=HOSTILE),)
    bundle = changed(
        tmp_path / "b",
        name=HOSTILE,
        version=HOSTILE,
        lineage=lineage,
        recipe=({"kind": HOSTILE},),
        versions={HOSTILE: "1"},
    )
    every = elements(bundle)
    assert of("ai_AIPackage", every)[0]["name"] == HOSTILE
    assert of("software_Package", every)[0]["name"] == HOSTILE
    assert not {byte for byte in spdx(bundle, NOTHING) if byte > 126 or byte < 32} - {10}


def test_a_digest_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BomError, match="no SHA-256") as caught:
        spdx(changed(tmp_path / "b", data={"evaluate": "no\x1bdigest"}), NOTHING)
    assert caught.value.code == "bom_invalid"
    assert "\x1b" not in str(caught.value)
