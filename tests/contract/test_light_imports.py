"""A box that only serves has neither torch nor onnx: what it imports must not ask for them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

EXTRAS = {
    "backports",
    "cyclonedx",
    "h5py",
    "huggingface_hub",
    "jwt",
    "keras",
    "litestar",
    "onnx",
    "onnx_ir",
    "onnxscript",
    "opentelemetry",
    "optimum",
    "prometheus_client",
    "requests",
    "safetensors",
    "spdx_python_model",
    "tensorflow",
    "tf2onnx",
    "torch",
    "transformers",
    "uvicorn",
}
HEAVY = {"numpy", "onnxruntime", "tokenizers"}
THIRD_PARTY = EXTRAS | HEAVY | {"cedarpy", "click", "cryptography", "msgspec", "rich", "rich_click"}

# module -> what must not be loaded once it is imported
LIGHT = {
    "policies.errors": THIRD_PARTY,
    "policies.gate": EXTRAS | HEAVY | {"cryptography", "rich"},
    "compliance.verify": THIRD_PARTY - {"cryptography"},
    "compliance.journal": EXTRAS | HEAVY | {"cedarpy", "rich"},
    "toolkit.runtime": EXTRAS,
    "toolkit.cli": EXTRAS,
    "serve.commands": EXTRAS,
    "serve.key_commands": EXTRAS,
    "sealpress": EXTRAS,
}

# An extra that is asked for is refused, as if it were not installed; everything else is looked up afterwards.
PROBE = f"""
import importlib, sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {sorted(EXTRAS)!r}:
            raise ModuleNotFoundError("blocked: " + name, name=name)

sys.meta_path.insert(0, Blocked())
importlib.import_module(sys.argv[1])
print(*sorted({{name.partition(".")[0] for name in sys.modules}}))
"""


@pytest.mark.parametrize("module", LIGHT)
def test_an_import_stays_light(module: str) -> None:
    command = [sys.executable, "-c", PROBE, module]
    result = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert LIGHT[module].isdisjoint(result.stdout.split()), LIGHT[module] & set(result.stdout.split())


def test_the_probe_blocks_what_is_installed() -> None:
    command = [sys.executable, "-c", PROBE, "torch"]
    result = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)
    assert result.returncode == 1
    assert "blocked: torch" in result.stderr
