"""How soon a server is ready with one bundle, and the memory that it then takes. About a minute."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.frame import Result, goal, lasting, measured, times
from benchmarks.serving.boxes import made_box
from benchmarks.serving.closed import CONNECTIONS
from benchmarks.serving.load import closed
from benchmarks.serving.servers import CORES, OURS, PEERS, sealpress

__all__ = ["run"]

ROUNDS = 9
GOAL_S, GOAL_MB = 2.0, 200.0
LOAD_S = 2.0
FLOOR = "imports, tokenizer and session alone"
LOADED = f"after {LOAD_S:g} s of {CONNECTIONS} connections"


def run() -> list[Result]:
    box = made_box("serving-start")
    one = sealpress(box, box.command("key", "create")["key"])
    several = sealpress(box, box.command("key", "create")["key"], CORES)
    ready: dict[str, list[float]] = {OURS: [], several.name: [], FLOOR: []}
    memory: dict[str, list[float]] = {"once it is ready": [], LOADED: []}
    with TemporaryDirectory() as scratch:
        with one.serve(Path(scratch) / "log") as server:
            first = server.ready_s  # the plan is measured and kept
        rounds = times(ROUNDS)
        for number in range(rounds):
            with one.serve(Path(scratch) / "log") as server:
                ready[OURS].append(server.ready_s)
                memory["once it is ready"].append(server.pss_mb())
                closed(server.port, one.again(), CONNECTIONS, lasting(LOAD_S))
                memory[LOADED].append(server.pss_mb())
            with several.serve(Path(scratch) / "log") as server:
                ready[several.name].append(server.ready_s)
            ready[FLOOR].append(_floor(box.bundle, Path(scratch)))
            print(f"  round {number + 1}/{rounds}  ready after {ready[OURS][-1]:.2f} s", flush=True)
    packages = ["sealpress", "litestar", "uvicorn", "onnxruntime", "cryptography"]
    started = measured(
        "serving-start",
        "Seconds from the start of the command until the first text is answered, one bundle, warm page cache.",
        "s",
        OURS,
        ready,
        notes=lambda result: [
            goal("median seconds", result.median(OURS), most=GOAL_S),
            f"The first start on a machine, which measures lanes and batches, took {first:.1f} s.",
        ],
        packages=packages,
    )
    weighed = measured(
        "serving-start-memory",
        "Memory (PSS, 2^20 bytes) with int8 MiniLM loaded.",
        "MB",
        "once it is ready",
        memory,
        notes=[goal(f"{name}, MB", max(found), most=GOAL_MB) for name, found in memory.items()],
        packages=packages,
    )
    return [started, weighed]


def _floor(bundle: Path, scratch: Path) -> float:
    """Seconds until a process that serves nobody has embedded its first text."""
    texts = scratch / "texts.json"
    texts.write_text('["where is the ward"]', "utf-8")
    env = {**os.environ, "BUNDLE": str(bundle), "TEXTS": str(texts)}
    began = time.perf_counter()
    with subprocess.Popen(
        [sys.executable, PEERS / "bare.py", "1", "1", "1", "0.01"],
        env=env,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        if process.stdout is None or not process.stdout.readline():
            raise RuntimeError("the bare loop does not run")
        took = time.perf_counter() - began
        process.communicate(b"\n")
    return took
