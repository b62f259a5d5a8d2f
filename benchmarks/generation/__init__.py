"""SmolLM2-135M pressed by each of its recipes: how fast it reads and writes, and how well it foretells text.

Bundles are asked as a user asks them, through the gate and into the journal, in turn. Each is kept in .cache with its
box: to press one takes minutes. The parent is a dequantised 4-bit file, which every result says.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from time import perf_counter

import numpy as np

from benchmarks.frame import Result, goal, in_turn, measured, times
from toolkit.box import Box, Context
from toolkit.bundle import Bundle
from toolkit.compress import compress
from toolkit.model import Model
from toolkit.plan import Plan
from toolkit.runtime.sampling import Sampling

__all__ = ["run"]

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT.parent / "shared" / "data" / "wiki_passages"
KEPT = ROOT / ".cache" / "benchmarks" / "generation"
FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
BASE, *SMALL = RECIPES = ("w8-t8", "w4-t8", "gptq-t8")
WRITTEN, ROUNDS = 96, 5
LEARNED, MEASURED = 24, 12  # texts of about as many tokens as are looked at
CHARACTERS, LONGER = 2200, 2400
BANDWIDTH = 512_000_000  # bytes that are read to find out how fast memory is
PACKAGES = ["sealpress", "onnxruntime", "numpy", "tokenizers"]
PROMPT = "The nurse on the third ward asks where the patient with the fever was moved to last night. " * 6


def run() -> list[Result]:
    """Decoding, reading and perplexity. Raises FileNotFoundError without the passages of Wikipedia."""
    box = _box()
    bundles = {name: _bundle(name, box) for name in RECIPES}
    plan = Plan(threads=os.cpu_count() or 1)
    models = {name: Model(bundle, box, plan) for name, bundle in bundles.items()}
    parent = f"The parent is a file of few bits already: {next(iter(bundles.values())).measurements.method['source']}."
    sizes = {name: bundle.measurements.after.size_bytes for name, bundle in bundles.items()}
    written = "MB of model.onnx: " + ", ".join(f"{name} {size / 1e6:.1f}" for name, size in sizes.items()) + "."
    decoded, read = ({name: _speed(model, what) for name, model in models.items()} for what in (WRITTEN, 1))
    return [
        measured(
            "generation-decode",
            f"SmolLM2-135M: tokens a second while {WRITTEN} are written, through gate and journal, all cores",
            "tokens/s",
            BASE,
            in_turn(decoded, times(ROUNDS)),
            notes=lambda result: [parent, written, *_goals(result, 115), *_limit(result, sizes)],
            packages=PACKAGES,
        ),
        measured(
            "generation-prefill",
            "SmolLM2-135M: tokens of a prompt read a second, through gate and journal, all cores",
            "tokens/s",
            BASE,
            in_turn(read, times(ROUNDS)),
            notes=lambda result: [parent, *_goals(result, 500)],
            packages=PACKAGES,
        ),
        _perplexity(bundles, [parent, written]),
    ]


def _speed(model: Model, tokens: int) -> Callable[[], float]:
    """Tokens a second: written ones after the first, or those of the prompt until the first one is there."""

    def once() -> float:
        sampling = Sampling.checked(max_tokens=tokens)
        began = perf_counter()
        with model.stream(PROMPT, sampling, Context(purpose="search")) as stream:
            next(stream)
            first = perf_counter()
            written = sum(1 for _ in stream)
        if tokens == 1:
            return stream.usage["prompt_tokens"] / (first - began)
        return written / (perf_counter() - first)

    return once


def _goals(result: Result, least: float) -> list[str]:
    return [goal(f"{name}, tokens a second", result.median(name), least=least) for name in SMALL]


def _limit(result: Result, sizes: dict[str, int]) -> list[str]:
    """What part of the speed of memory is used: each token reads all weights once."""
    numbers = np.ones(BANDWIDTH // 4, np.float32)
    taken = []
    for _ in range(3):
        began = perf_counter()
        numbers.max()
        taken.append(perf_counter() - began)
    speed = BANDWIDTH / min(taken)
    parts = ", ".join(f"{name} {result.median(name) * size / speed:.2f}" for name, size in sizes.items())
    return [f"One thread read memory at {speed / 1e9:.1f} GB/s in the same run; used of that: {parts}."]


def _perplexity(bundles: dict[str, Bundle], notes: Sequence[str]) -> Result:
    """As it stands in the bundles: measured when they were pressed, all on the same texts."""
    tasks = {name: bundle.measurements.after.task or {} for name, bundle in bundles.items()}
    before = next(iter(bundles.values())).measurements.before.task or {}
    rounds = {"FP32": [before["perplexity"]], **{name: [task["perplexity"]] for name, task in tasks.items()}}

    def said(result: Result) -> list[str]:
        lows = ", ".join(f"{name} {bundle.measurements.after.fidelity:.4f}" for name, bundle in bundles.items())
        goals = [goal(f"{name}, of FP32", result.ratio(name), most=1.05) for name in SMALL]
        return [*notes, f"1 minus the divergence, as its lower bound: {lows}.", *goals]

    what = f"SmolLM2-135M: perplexity on {MEASURED} texts of wiki_passages/dev, of at most 512 tokens"
    return measured("generation-perplexity", what, "", "FP32", rounds, notes=said, packages=PACKAGES)


def _box() -> Box:
    folder = KEPT / "box"
    if not folder.exists():
        subprocess.run([Path(sys.executable).with_name("sealpress"), "init", folder], check=True)
    return Box(folder / "sealpress.toml")


def _bundle(name: str, box: Box) -> Bundle:
    path = KEPT / "box" / f"{name}.bundle"
    if not path.exists():
        print(f"  press: {name}", flush=True)
        where = [sys.executable, str(ROOT / "examples" / "models.py"), "--where", "smollm2"]
        source = Path(subprocess.run(where, check=True, capture_output=True, text=True).stdout.strip()) / FILE
        learn, texts = (DATA / "calib.txt").read_text("utf-8"), (DATA / "dev.txt").read_text("utf-8")
        compress(
            source,
            recipe=name,
            calibrate=[learn[at * CHARACTERS : (at + 1) * CHARACTERS] for at in range(LEARNED)],
            evaluate=[texts[at * LONGER : (at + 1) * LONGER] for at in range(MEASURED)],
            out=path,
            settings=KEPT / "box" / "sealpress.toml",
        )
    return Bundle.read(path, box.trusted())
