"""What a weight-only step takes of memory, beside the model and with it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.unit.toolkit.compress.steps.graphs import model_of
from toolkit.compress.quiet import quiet

with quiet():
    from onnx import helper

ROOT = Path(__file__).resolve().parents[5]
MEASURE = """
import sys
from pathlib import Path
import onnx, onnxruntime
from toolkit.compress import layers, weights
from toolkit.compress.recipe import Recipe

def bytes_of(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(name))

before = bytes_of("VmRSS")
model = Path(sys.argv[1]).read_bytes()
Path("/proc/self/clear_refs").write_text("5")
Recipe.of([{"kind": sys.argv[2], "bits": int(sys.argv[3])}]).steps[0].apply(model, None)
print((bytes_of("VmHWM") - before) / len(model))
"""


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Half a table of 20,000 rows, half four layers of 2,000 inputs: 77 MB."""
    random = np.random.default_rng(0)
    side = 1600
    constants = {"table": random.normal(size=(6000, side)).astype(np.float32)}
    nodes = [helper.make_node("Cast", ["x"], ["ids"], to=7), helper.make_node("Gather", ["table", "ids"], ["h0"])]
    for number in range(4):
        constants[f"w{number}"] = random.normal(size=(side, side)).astype(np.float32)
        nodes.append(
            helper.make_node("MatMul", [f"h{number}", f"w{number}"], [f"h{number + 1}" if number < 3 else "y"])
        )
    path = tmp_path_factory.mktemp("large") / "model.onnx"
    path.write_bytes(model_of(nodes, constants, (4,)))
    return path


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from /proc")
@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("kind", ["weight-bits", "table-bits"])
def test_a_weight_only_step_takes_at_most_four_times_the_model(large: Path, kind: str, bits: int) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", MEASURE, str(large), kind, str(bits)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert 1 < float(done.stdout) <= 4
