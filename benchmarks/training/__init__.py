"""How a step of training scales over processes of this machine, and what it would take over many: calculated.

A step is that of `distil` on all-MiniLM-L6-v2, which its own copy teaches: 16 items of 32 tokens, dealt out. Each
process computes on one thread. Computing is measured by steps whose gradients stay where they are; what a whole step
takes beyond that is communication, as far as it is not hidden behind computing.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.frame import HERE, Result, measured, times
from toolkit.compress.quiet import quiet

BATCH, TOKENS, STEPS = 16, 32, 5
PROCESSES = (1, 2, 4)
NODES = (8, 16, 32, 64, 128, 256, 512, 1024)
MODELS = HERE.parent / "examples" / "models.py"


def run() -> list[Result]:
    with TemporaryDirectory() as name:
        model = Path(name) / "model.onnx"
        model.write_bytes(_exported())
        found = {count: _steps(model, count) for count in PROCESSES}
    rounds = {}
    for count, one in found.items():
        rounds[f"{count} processes, a step"] = one["whole"]
        rounds[f"{count} processes, computing"] = one["computing"]
    return [
        measured(
            "training-scaling",
            f"A step of `distil` on all-MiniLM-L6-v2, {BATCH} items of {TOKENS} tokens over 1, 2 and 4 processes of "
            "one thread each.",
            "s",
            "1 processes, a step",
            rounds,
            notes=lambda result: _notes(result, found),
            packages=["torch"],
        )
    ]


def ring(count: int, size: float, bandwidth: float, latency: float) -> float:
    """Seconds of an all-reduce of `size` bytes over a ring of `count` nodes, for links with a bandwidth in bytes a
    second and a latency in seconds. Patarasuk and Yuan, "Bandwidth optimal all-reduce algorithms for clusters of
    workstations", 2009."""
    return 2 * (count - 1) / count * size / bandwidth + 2 * (count - 1) * latency


def _notes(result: Result, found: dict[int, dict[str, Any]]) -> list[str]:
    cores, alone = os.cpu_count() or 1, result.median("1 processes, a step")
    # a process alone communicates nothing: its whole step is computing
    notes = [f"1 process on {cores} cores: {alone:.3f} s a step."]
    for count in PROCESSES[1:]:
        whole, computing = (result.median(f"{count} processes, {what}") for what in ("a step", "computing"))
        notes.append(
            f"{count} processes on {cores} cores: {whole:.3f} s a step, {computing:.3f} s of it computing and "
            f"{max(0.0, whole - computing):.3f} s communication; ideal {alone / min(count, cores):.3f} s."
        )
    two = found[2]
    size, small, large = two["bytes"], two["small"], two["large"]
    bandwidth, latency = size / (large - small), small / 2
    notes.append(
        f"Measured between two processes of this machine, by gloo: an all-reduce of 4 bytes takes {small * 1e3:.3f} "
        f"ms, of the {size / 1e6:.1f} MB of a gradient {large * 1e3:.1f} ms: {bandwidth / 1e9:.2f} GB/s and "
        f"{latency * 1e6:.0f} us for the model below."
    )
    told = ", ".join(f"{count}: {alone / (alone + ring(count, size, bandwidth, latency)):.2f}" for count in NODES)
    notes.append(
        f"Calculated, not measured: of nodes that each compute {alone:.3f} s a step on {BATCH} items of their own "
        "and reduce over a ring with that bandwidth and latency, nothing hidden, the share of the time that computes: "
        f"{told}."
    )
    return notes


def _exported() -> bytes:
    command = [sys.executable, str(MODELS), "--where"]
    folder = Path(subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip())
    with quiet():
        from toolkit.compress.sources import huggingface, pretrained

        return pretrained.load(huggingface.read(folder)).export()


def _steps(model: Path, count: int) -> dict[str, Any]:
    """Figures of the first process of so many."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--local-addr=127.0.0.1"]
    command += [f"--nproc-per-node={count}", "-m", "benchmarks.training.steps"]
    command += [str(model), str(BATCH), str(TOKENS), str(times(STEPS))]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(HERE.parent)}
    done = subprocess.run(command, check=True, env=environment, capture_output=True, text=True)
    figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    print(f"  {count} processes: {figures}", flush=True)
    return figures
