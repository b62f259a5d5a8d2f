"""Bundles of a real model held against each other by the command."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from tests.conftest import Run


def test_a_real_bundle_beside_a_copy_of_itself(box: Path, sealpress: Run) -> None:
    shutil.copytree(box / "minilm.bundle", box / "copy.bundle")
    (box / "texts.txt").write_text("Where is the ward?\nOn the third floor.\n")
    done = sealpress("compare", "minilm.bundle", "copy.bundle", "--data", "texts.txt", "--json", cwd=box)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout)
    assert (found["measure"], found["batch"], found["items"]) == ("cosine", "1 x 12 tokens", 2)
    one, two = found["bundles"]
    assert one["digest"] == two["digest"]
    assert one["size_bytes"] == (box / "minilm.bundle" / "model.onnx").stat().st_size
    assert two["agreement"]["low"] > 0.999999
    assert min(one["latency_ms"], two["latency_ms"]) > 0
    assert one["recorded"] > 0.99
    assert sealpress("journal", "verify", cwd=box).returncode == 0
    alone = sealpress("compare", "minilm.bundle", "--json", cwd=box)
    assert (alone.returncode, json.loads(alone.stdout)["code"]) == (2, "compare_few")
