"""The same inputs give the same bytes, in another process, with more threads; and an interrupt leaves nothing half."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.commands import within
from tests.unit.toolkit.compress.conftest import CONFIG, make_tiny
from toolkit.compress.measure import evaluation_texts
from toolkit.new_box import create_box

ROOT = Path(__file__).resolve().parents[2]
COMMAND = Path(sys.executable).with_name("sealpress")
FOLLOW = """
import hashlib, json, sys
from pathlib import Path
from policies.facts import Call, Manifest
from policies.gate import gate
from policies.payload import Payload
from tests.unit.toolkit.compress.conftest import Allowing, Recording
from toolkit.compress.data import Data, gathered
from toolkit.compress.engine import Press
from toolkit.compress.ladder import NAMES, named
from toolkit.compress.measure import evaluation_texts
from toolkit.compress.recipe import Recipe
from toolkit.compress.sources import huggingface

source = huggingface.read(Path(sys.argv[1]))
texts = evaluation_texts()
data = Data(calibrate=gathered(texts[:8], "text"), evaluate=gathered(texts[8:12], "text"))
own = [{"kind": "slim"}, {"kind": "adaround"}, {"kind": "bias-correction"}, {"kind": "dynamic-int8"}]

def work(grant):
    press = Press(source, grant, "policy", data, lambda _: None)
    recipes = {name: named(name) for name in NAMES} | {"own": Recipe.of(own), "fuse": Recipe.of([{"kind": "fuse"}])}
    return {name: press.follow(recipe).digest for name, recipe in recipes.items()}

model = Manifest(format=1, name="m", version="", digest=source.digest, task="x", licence="MIT", inputs=(), outputs=())
call = Call(id="1", at=0, actor="a", tenant="t", action="compress", model=source.digest)
print(json.dumps(gate(Allowing(), model, call, Payload.checked({"texts": texts}), Recording(), work)))
"""


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny(tmp_path_factory.mktemp("tiny") / "tiny", {**CONFIG, "num_hidden_layers": 2, "vocab_size": 400})


def digests(tiny: Path, threads: str, seed: str) -> dict[str, str]:
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": threads,
        "OPENBLAS_NUM_THREADS": threads,
        "PYTHONHASHSEED": seed,
    }
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FOLLOW, str(tiny)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, str] = json.loads(done.stdout)
    return found


@pytest.mark.slow
def test_every_recipe_gives_the_same_bytes_in_two_processes_with_one_and_two_threads(tiny: Path) -> None:
    first = digests(tiny, "1", "1")
    assert len(set(first.values())) == len(first)
    assert digests(tiny, "2", "2") == first


@pytest.mark.slow
def test_an_interrupt_leaves_no_half_bundle_and_the_run_goes_on(tiny: Path, tmp_path: Path) -> None:
    create_box(tmp_path / "box")
    texts = evaluation_texts()
    (tmp_path / "learn.txt").write_text("\n".join(texts[:8]))
    (tmp_path / "measure.txt").write_text("\n".join(texts[8:20]))
    data = ["--calibrate", str(tmp_path / "learn.txt"), "--evaluate", str(tmp_path / "measure.txt")]
    data += ["--data-licence", "LicenseRef-own"]
    call = [
        str(COMMAND),
        "compress",
        str(tiny),
        "--out",
        "x.bundle",
        *data,
        "--budget",
        "fidelity>=0.5",
        "--trials",
        "3",
    ]
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in what a shell runs in the background
    try:
        running = subprocess.Popen(call, cwd=tmp_path / "box", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    finally:
        signal.signal(signal.SIGINT, before)
    trials = tmp_path / "box" / "x.run" / "trials"
    for _ in range(30_000):
        if trials.exists() and any(trials.iterdir()):
            break
        time.sleep(0.002)  # the trials of so small a model are short
    running.send_signal(signal.SIGINT)
    assert running.wait(60) != 0
    assert not (tmp_path / "box" / "x.bundle").exists()
    kept = {path.name for path in trials.iterdir()}
    assert all((trials / name / "trial.json").exists() for name in kept)
    done = within(tmp_path / "box", *call[1:], "--resume", "--json")
    assert done.returncode == 0, done.stdout
    assert kept <= {path.name for path in trials.iterdir()}
    assert (tmp_path / "box" / "x.bundle" / "signature.json").exists()
