"""What training gives back to models that were pressed too far: before, after, and the seconds of processors."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from benchmarks.compression import minilm
from benchmarks.frame import Result, measured
from benchmarks.generation.own import FILE, Original
from benchmarks.pressed import source
from toolkit.box import Box
from toolkit.compress.engine import Press
from toolkit.compress.recipe import Recipe
from toolkit.compress.task import Task

Tables = tuple[dict[str, Any], ...]

LEARN, MEASURE = 300, 200  # passages, of MiniLM
PIECES, MEASURED, SIZE = 12, 8, 1100  # pieces of so many characters, of SmolLM2
TWO_BITS = {"kind": "weight-bits", "bits": 2, "block": 32}
THREE_QUARTERS = {"kind": "prune-neurons", "keep": 0.75}
WORDS = ({"kind": "codebook"}, {"kind": "table-codebook", "word": 3})  # the smallest of `compression-points`
# what is pressed without training, and what is learned then or in its place
MINILM: dict[str, tuple[Tables, Tables]] = {
    "weights in 2 bits": ((TWO_BITS,), ({"kind": "qat", "to": TWO_BITS, "epochs": 4, "rate": 3e-4},)),
    "three quarters of the neurons, all in words": (
        (THREE_QUARTERS, *WORDS),
        (THREE_QUARTERS, {"kind": "distil", "epochs": 4}, *WORDS),
    ),
}
NINE_TENTHS = {"kind": "prune-neurons", "keep": 0.9}
SMOLLM2: dict[str, tuple[Tables, Tables]] = {
    "nine tenths of the neurons": ((NINE_TENTHS,), (NINE_TENTHS, {"kind": "distil", "epochs": 2, "batch": 4})),
}


class Recovered(NamedTuple):
    """Figures of the model before, after, what the training took, and the bytes of what came of it."""

    before: float
    after: float
    cpu_s: float
    size: int


def run() -> list[Result]:
    learn, texts, where = minilm.passages()
    fidelities = _recovered(source(), learn[:LEARN], texts[:MEASURE], MINILM, _fidelity)
    learned, measured_on = ("\n".join(lines) for lines in (learn, texts))
    pieces = [
        [text[at * SIZE : (at + 1) * SIZE] for at in range(count)]
        for text, count in ((learned, PIECES), (measured_on, MEASURED))
    ]
    perplexities = _recovered(Original().path, pieces[0], pieces[1], SMOLLM2, _perplexity)
    return [
        _result(
            "training-recovery-minilm",
            "all-MiniLM-L6-v2 pressed below what quantisation alone reaches, and taught: mean cosine to FP32",
            "cosine",
            fidelities,
            [f"{LEARN} texts to learn from, {MEASURE} others to measure on: {where}; no text stands in both"],
        ),
        _result(
            "training-recovery-smollm2",
            "SmolLM2-135M-Instruct without a part of its neurons, and taught: perplexity",
            "perplexity",
            perplexities,
            [
                f"{FILE}; {PIECES} pieces of {SIZE} characters to learn from, {MEASURED} others to measure on: {where}",
                "its perplexity is on other texts than in other tables: compare within this one only",
            ],
        ),
    ]


def _recovered(
    path: Path, learn: Sequence[str], texts: Sequence[str], cases: dict[str, tuple[Tables, Tables]], figure: Any
) -> dict[str, Recovered]:
    with TemporaryDirectory() as scratch, minilm.box(Path(scratch)) as settings:
        task = Task.of(
            path,
            box=Box.embedded(settings),
            calibrate=learn,
            evaluate=texts,
            licence=None,
            data_licence=minilm.TERMS,
            parents=(),
            progress=lambda line: print(f"  {line}", flush=True),
        )

        def work(press: Press) -> dict[str, Recovered]:
            whole = figure(press, press.exported)
            found = {"FP32": Recovered(whole, whole, 0.0, len(press.exported))}
            for name, (alone, taught) in cases.items():
                before = figure(press, press.follow(Recipe.of(alone)).model)
                made = press.follow(Recipe.of(taught))
                spent = sum(one.spent.cpu_s for one in made.reports if one.spent is not None)
                found[name] = Recovered(before, figure(press, made.model), spent, len(made.model))
                print(f"  {name}: {found[name]}", flush=True)
            return found

        return task.gated({"recipes": sorted(cases)}, work)


def _fidelity(press: Press, model: bytes) -> float:
    return press.fidelity(model).score.mean


def _perplexity(press: Press, model: bytes) -> float:
    return press.result(model).task["perplexity"].mean


def _result(name: str, what: str, unit: str, found: dict[str, Recovered], notes: list[str]) -> Result:
    rounds = {"FP32": [found["FP32"].after]}
    for case, one in found.items():
        if case != "FP32":
            rounds |= {f"{case}, not taught": [one.before], f"{case}, taught": [one.after]}
    took = [
        f"{case}: {one.size / 1e6:.2f} MB, {one.cpu_s:.0f} CPU-seconds of training"
        for case, one in found.items()
        if one.cpu_s
    ]
    return measured(name, what, unit, "FP32", rounds, notes=[*notes, *took], packages=["onnxruntime", "torch", "numpy"])
