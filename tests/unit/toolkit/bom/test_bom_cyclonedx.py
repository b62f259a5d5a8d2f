"""The ML-BOM in CycloneDX: valid in the strict form, the same each time, and nothing in it that no bundle said."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from msgspec import structs

from tests.unit.toolkit.bom.bundles import GOLDENS, HOSTILE, changed, full, golden
from tests.vectors.make_boms import HERE, SAID
from toolkit.bom.contents import Said
from toolkit.bom.cyclonedx import cyclonedx
from toolkit.bom.errors import BomError
from toolkit.bundle import Bundle

VALIDATOR = JsonStrictValidator(SchemaVersion.V1_7)
NOTHING = Said()


def document(bundle: Bundle, said: Said = NOTHING) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(cyclonedx(bundle, said).decode("ascii"))
    return found


def properties(of: dict[str, Any]) -> dict[str, str]:
    return {one["name"].removeprefix("sealpress:"): one["value"] for one in of["properties"]}


@pytest.mark.parametrize("name", GOLDENS)
def test_every_golden_bundle_becomes_a_valid_document_that_names_each_file(name: str) -> None:
    bundle = golden(name)
    text = cyclonedx(bundle, NOTHING).decode("ascii")
    assert VALIDATOR.validate_str(text) is None
    found = json.loads(text)["metadata"]["component"]
    assert found["type"] == "machine-learning-model"
    assert (found["name"], found["version"]) == (bundle.manifest.name, bundle.manifest.version)
    said = {one["name"]: one["hashes"] for one in found["components"]}
    assert said == {
        path.name: [{"alg": "SHA-256", "content": bundle.digests[path.name]}] for path in bundle.path.iterdir()
    }
    assert {name: bundle.digests[name] for name in bundle.manifest.files} == bundle.manifest.files


def test_the_golden_document_stands() -> None:
    made = document(golden("golden-lineage-v1"), SAID)
    kept = json.loads((HERE / "golden-lineage.cdx.json").read_bytes())
    kept["metadata"]["tools"] = made["metadata"]["tools"]  # which names the release that wrote it
    assert made == kept


def test_the_lineage_is_the_pedigree_and_its_data_are_data_sets() -> None:
    found = document(golden("golden-lineage-v1"))
    model = found["metadata"]["component"]
    kin = [(one["name"], properties(one)["relation"], "hashes" in one) for one in model["pedigree"]["ancestors"]]
    assert kin == [("my-adapter", "adapter", True), ("org/merge", "parent", True), ("org/base", "merged", False)]
    own, marked = found["components"]
    assert (own["name"], own["licenses"][0]["expression"]) == ("texts.txt", "LicenseRef-own")
    assert (marked["name"], marked["licenses"][0]["license"]["id"]) == ("marked.jsonl", "CC-BY-4.0")
    assert [one["ref"] for one in model["modelCard"]["modelParameters"]["datasets"]] == ["data-0", "data-1"]
    (licence,) = model["licenses"]
    assert licence["expression"] == golden("golden-lineage-v1").manifest.licence
    assert "LicenseRef-scancode-llama-3.2-license-2024" in {
        one["licenseIdentifier"] for one in licence["expressionDetails"]
    }
    assert "Llama 3.2 Community License Agreement 2024" in properties(licence).values()


def test_figures_steps_and_what_training_took_are_told(tmp_path: Path) -> None:
    text = cyclonedx(full(tmp_path / "full.bundle"), NOTHING).decode("ascii")
    assert VALIDATOR.validate_str(text) is None
    found = json.loads(text)
    model = found["metadata"]["component"]
    card = model["modelCard"]
    metrics = {(one["type"], one.get("slice")): one for one in card["quantitativeAnalysis"]["performanceMetrics"]}
    assert metrics["accuracy", None]["value"] == "0.91"
    assert metrics["before pressing: accuracy", None]["value"] == "0.92"
    assert metrics["size_bytes", None]["value"] == "271"
    low = metrics["fidelity (lower 95 % bound)", "class short"]
    assert (low["value"], low["confidenceInterval"]) == ("0.94", {"lowerBound": "0.94"})
    part = metrics["fidelity (mean, with its two-sided 90 % interval)", "length 1-16"]
    assert (part["value"], part["confidenceInterval"]) == ("0.97", {"lowerBound": "0.95", "upperBound": "0.99"})
    assert all(isinstance(one["value"], str) for one in metrics.values())
    assert len(metrics) == len(card["quantitativeAnalysis"]["performanceMetrics"]) == 12
    assert card["considerations"]["useCases"] == ["triage", "search"]
    assert card["considerations"]["technicalLimitations"] == ["It reads at most 8 tokens of an input."]
    (tradeoff,) = card["considerations"]["performanceTradeoffs"]
    assert tradeoff.startswith("declared before: fidelity>=0.95; needs a person: below the fidelity")
    assert json.loads(properties(card)["modification"])["parent"] == "ab" * 32
    assert properties(card)["zeros"] == "7"
    assert json.loads(properties(model)["licence-stated"])["licence"] == "MIT"
    (formula,) = found["formulation"]
    (workflow,) = formula["workflows"]
    assert [step["name"] for step in workflow["steps"]] == ["1. sparsify", "2. distil"]
    assert properties(workflow["steps"][0]) == {"share": "0.5", "keep": '["head"]'}
    assert properties(workflow) == {"seed": "7", "flops": "1200000000", "cpu_s": "3.5"}
    assert [(one["name"], one["version"]) for one in formula["components"]] == [
        ("onnxruntime", "1.32.0"),
        ("sealpress", "0.1.0"),
    ]
    known, other = found["components"]
    assert (known["name"], properties(known)) == ("texts.jsonl", {"relation": "calibration", "use": "calibrate"})
    assert (other["name"], properties(other)) == ("items to evaluate", {"use": "evaluate"})
    assert other["hashes"][0]["content"] == "22" * 32


def test_what_no_bundle_says_is_not_there() -> None:
    found = document(golden("golden-pictures-v1"))
    model = found["metadata"]["component"]
    assert "timestamp" not in found["metadata"]
    assert not {"externalReferences", "supplier", "authors"} & model.keys()
    assert "components" not in found
    assert "performanceTradeoffs" not in model["modelCard"]["considerations"]
    told = document(golden("golden-pictures-v1"), SAID)
    assert told["metadata"]["timestamp"] == "2026-11-29T12:00:00Z"
    assert told["metadata"]["component"]["externalReferences"] == [
        {"type": "distribution", "url": "https://models.example/golden.tar"}
    ]
    assert properties(told["metadata"]["component"])["released"] == "2026-11-28T00:00:00Z"


def test_the_serial_number_is_that_of_what_is_said(tmp_path: Path) -> None:
    bundle = golden("golden-v1")
    assert cyclonedx(bundle, NOTHING) == cyclonedx(golden("golden-v1"), NOTHING)
    others = [
        document(golden("golden-v1"), SAID),
        document(golden("golden-entities-v1")),
        # the same model and another measurement: the digest of the manifest is the same, the document is not
        document(structs.replace(bundle, digests=bundle.digests | {"measurements.json": "00" * 32})),
    ]
    numbers = {one["serialNumber"] for one in (document(bundle), *others)}
    assert len(numbers) == 4


def test_hostile_texts_stay_texts(tmp_path: Path) -> None:
    lineage = (
        *golden("golden-v1").manifest.lineage,
        structs.replace(golden("golden-v1").manifest.lineage[0], name=HOSTILE),
    )
    step = {"kind": HOSTILE, HOSTILE: {HOSTILE: [HOSTILE]}}
    bundle = changed(
        tmp_path / "b", name=HOSTILE, task=HOSTILE, lineage=lineage, recipe=(step,), versions={HOSTILE: "1"}
    )
    found = document(bundle)
    assert found["metadata"]["component"]["name"] == HOSTILE
    assert found["metadata"]["component"]["pedigree"]["ancestors"][1]["name"] == HOSTILE
    text = cyclonedx(bundle, NOTHING)
    assert VALIDATOR.validate_str(text.decode("ascii")) is None
    assert not {byte for byte in text if byte > 126 or byte < 32} - {10}


@pytest.mark.parametrize(
    ("fields", "at"),
    [
        ({"version": "1" * 1025}, "metadata/component/version"),
        ({"data": {"evaluate": "no digest"}}, "components/0/hashes/0/content"),
    ],
)
def test_what_the_schema_has_no_place_for_is_refused(tmp_path: Path, fields: dict[str, Any], at: str) -> None:
    with pytest.raises(BomError, match=at) as caught:
        cyclonedx(changed(tmp_path / "b", **fields), NOTHING)
    assert caught.value.code == "bom_invalid"


def test_an_address_that_is_none_is_refused() -> None:
    with pytest.raises(BomError, match="externalReferences/0"):
        cyclonedx(golden("golden-v1"), Said(location="no address \x00"))
