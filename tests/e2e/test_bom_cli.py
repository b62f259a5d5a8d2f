"""The bill of materials of a real model that was pressed, in both formats."""

from __future__ import annotations

import json
from pathlib import Path

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from spdx_python_model import load_data

from compliance.crypto import sha256
from tests.commands import within


def test_a_pressed_model_has_its_files_its_parent_and_its_figures_in_both_formats(pressed: Path) -> None:
    manifest = json.loads((pressed / "minilm.bundle" / "manifest.json").read_bytes())
    files = {file.name: sha256(file.read_bytes()).hex() for file in (pressed / "minilm.bundle").iterdir()}
    (parent,) = manifest["lineage"]

    made = within(pressed, "bom", "minilm.bundle", "--format", "cyclonedx").stdout
    assert JsonStrictValidator(SchemaVersion.V1_7).validate_str(made) is None
    document = json.loads(made)
    model = document["metadata"]["component"]
    assert {one["name"]: one["hashes"][0]["content"] for one in model["components"]} == files
    assert model["pedigree"]["ancestors"][0]["hashes"][0]["content"] == parent["digest"]
    assert model["licenses"][0]["license"]["id"] == "Apache-2.0"
    size = str((pressed / "minilm.bundle" / "model.onnx").stat().st_size)
    figures = model["modelCard"]["quantitativeAnalysis"]["performanceMetrics"]
    assert {"type": "size_bytes", "value": size} in figures
    tools = {one["name"]: one["version"] for one in document["formulation"][0]["components"]}
    assert tools == manifest["versions"]

    graph = json.loads(within(pressed, "bom", "minilm.bundle", "--format", "spdx").stdout)
    _, found = load_data(graph)
    assert found.link() == set()
    told = {one["name"]: one for one in graph["@graph"] if "name" in one}
    assert {name: told[name]["verifiedUsing"][0]["hashValue"] for name in files} == files
    assert told[parent["name"]]["verifiedUsing"][0]["hashValue"] == parent["digest"]
    metrics = {one["key"]: one["value"] for one in told[manifest["name"]]["ai_metric"]}
    assert metrics["size_bytes"] == size
