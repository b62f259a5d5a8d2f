"""Closed loop: what a server makes of a machine that it keeps busy, beside a bare loop in the same minute.

About nine minutes. Every server is started anew in every round, so that what rests takes nothing from what runs.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import NamedTuple

from benchmarks.frame import Result, goal, lasting, measured, times
from benchmarks.serving.boxes import made_box
from benchmarks.serving.load import closed, within_ms
from benchmarks.serving.servers import CONFIGURED, CORES, OURS, PEERS, TEXTS, Candidate, peers, sealpress

__all__ = ["CONNECTIONS", "bare", "run"]

CONNECTIONS = 32
SECONDS = 5.0
ROUNDS = 5
PACKAGES = ["sealpress", "litestar", "uvicorn", "onnxruntime"]

# processes, and in each: lanes, threads within a run, and texts in a run
BARE = {
    "bare loop, one thread a core": (1, CORES, 1, 1),
    "bare loop, one process a core": (CORES, 1, 1, 1),
    f"bare loop, {CORES} threads within a run": (1, 1, CORES, 1),
    "bare loop, one thread a core, 8 texts a run": (1, CORES, 1, 8),
}


class Figures(NamedTuple):
    """Of one round. The last two are of servers only."""

    per_s: float
    cpu_ms: float
    pss_mb: float
    p99_ms: float = 0.0
    ready_s: float = 0.0


def run() -> list[Result]:
    box = made_box("serving-closed")
    key = box.command("key", "create")["key"]
    served = [sealpress(box, key), sealpress(box, key, CORES), *peers(box.bundle)]
    found: dict[str, list[Figures]] = {name: [] for name in (*BARE, *(one.name for one in served))}
    tokens = 0.0
    with TemporaryDirectory() as scratch:
        texts = Path(scratch) / "texts.json"
        texts.write_text(json.dumps(TEXTS), "utf-8")
        for one in served[:2]:
            with one.serve(Path(scratch) / "log"):
                pass  # how this host runs the model best is measured at the first start
        rounds = times(ROUNDS)
        for number in range(rounds):
            for name, way in BARE.items():
                figures, tokens = bare(box.bundle, texts, *way, lasting(SECONDS))
                found[name].append(figures)
                print(f"  round {number + 1}/{rounds}  {name}: {figures.per_s:.4g} texts/s", flush=True)
            for one in served:
                found[one.name].append(_round(one, Path(scratch)))
                print(f"  round {number + 1}/{rounds}  {one.name}: {found[one.name][-1].per_s:.4g} texts/s", flush=True)
    return _results(found, tokens)


def bare(
    bundle: Path, texts: Path, processes: int, lanes: int, threads: int, batch: int, seconds: float
) -> tuple[Figures, float]:
    """A bare loop in so many processes at once, and the mean number of tokens of a text."""
    command: list[str | Path] = [sys.executable, PEERS / "bare.py", *map(str, (lanes, threads, batch, seconds))]
    env = {**os.environ, "BUNDLE": str(bundle), "TEXTS": str(texts)}
    loops = [
        subprocess.Popen(command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(processes)
    ]
    for one in loops:
        if one.stdout is None or one.stdout.readline() != "ready\n":
            raise RuntimeError("the bare loop does not run")
    for one in loops:
        if one.stdin is not None:
            one.stdin.write("\n")
            one.stdin.flush()
    done = [json.loads(one.communicate()[0]) for one in loops]
    per_s, cpu = sum(one["per_s"] for one in done), sum(one["cpu_ms"] for one in done) / processes
    return Figures(per_s, cpu, sum(one["pss_mb"] for one in done)), done[0]["tokens"]


def _round(one: Candidate, scratch: Path) -> Figures:
    with one.serve(scratch / "log") as server:
        requests = one.again()
        closed(server.port, requests, CONNECTIONS, lasting(1.0))  # warm up
        before = server.cpu_s()
        loaded = closed(server.port, requests, CONNECTIONS, lasting(SECONDS))
        cpu, pss = server.cpu_s() - before, server.pss_mb()
        if loaded.answered != loaded.statuses["", 200]:
            raise RuntimeError(f"{one.name} answers with {dict(loaded.statuses)}")
        return Figures(loaded.per_s, cpu / loaded.answered * 1e3, pss, within_ms(loaded.seconds, 0.99), server.ready_s)


def _results(found: dict[str, list[Figures]], tokens: float) -> list[Result]:
    servers = [name for name in found if name not in BARE]
    everyone = {name: [one.per_s for one in rounds] for name, rounds in found.items()}
    best = max(BARE, key=lambda name: median(everyone[name]))
    rest = [name for name in servers if not name.startswith(OURS)]
    loaded = (
        f"{CONNECTIONS} connections, closed loop, {lasting(SECONDS):g} s a round, one text of {tokens:.0f} tokens a "
        "request; sealpress with key, gate, privacy scan and sealed journal (buffered)"
    )

    alone = max((name for name, (*_, texts) in BARE.items() if texts == 1), key=lambda name: median(everyone[name]))

    def beside(one: str, other: str) -> float:
        return median(mine / its for mine, its in zip(everyone[one], everyone[other], strict=True))

    def notes(result: Result) -> list[str]:
        ahead = max(rest, key=result.median)
        ours = [name for name in servers if name not in rest]
        return [
            *(goal(f"{name}, texts/s beside the best bare loop", result.ratio(name), least=0.90) for name in ours),
            *(
                goal(f"{name}, texts/s beside {ahead}, the best of the peers", beside(name, ahead), least=1.0)
                for name in ours
            ),
            f"Beside the best bare loop of one text a run, {alone}: "
            + ", ".join(f"{name} {beside(name, alone):.3f}" for name in servers)
            + ". Sealpress runs this model so: an int8 answer whose ranges are found at each run changes with the "
            "texts beside it (ADR 4).",
            CONFIGURED,
            "The load, one thread on raw sockets and the same for all, takes its time from the same cores.",
        ]

    return [
        measured(
            "serving-throughput",
            f"Texts a second; {loaded}.",
            "texts/s",
            best,
            everyone,
            notes=notes,
            packages=PACKAGES,
        ),
        measured(
            "serving-cpu-request",
            f"Milliseconds of CPU (user and system, of all processes of the server) a request; {loaded}.",
            "ms",
            best,
            {name: [one.cpu_ms for one in rounds] for name, rounds in found.items()},
            notes=["What is beyond the bare loop is the server's own."],
            packages=PACKAGES,
        ),
        measured(
            "serving-latency",
            f"Milliseconds within which 99 of 100 are answered; {loaded}.",
            "ms",
            OURS,
            {name: [one.p99_ms for one in found[name]] for name in servers},
            notes=[],
            packages=PACKAGES,
        ),
        measured(
            "serving-memory",
            f"Memory (PSS, 2^20 bytes) of all processes after such a load; {loaded}.",
            "MB",
            OURS,
            {name: [one.pss_mb for one in rounds] for name, rounds in found.items()},
            notes=[],
            packages=PACKAGES,
        ),
        measured(
            "serving-ready",
            "Seconds from the start of a server until it has answered its first text.",
            "s",
            OURS,
            {name: [one.ready_s for one in found[name]] for name in servers},
            notes=["Lanes and batches of sealpress were measured before; serving-start tells of the first start."],
            packages=PACKAGES,
        ),
    ]
