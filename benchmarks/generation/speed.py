"""How fast prompts are read and answers written. Bundles are asked as a user asks them, through the gate and into the
journal; other engines alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from time import perf_counter

import numpy as np

from benchmarks.frame import Result, goal, in_turn, measured, times
from benchmarks.generation.candidates import FAST, MINE, PACKAGES, PROMPT, WIDE, Candidates, all_of_them
from benchmarks.generation.own import threads

__all__ = ["run"]

WRITTEN, ROUNDS = 96, 5
BANDWIDTH = 512_000_000  # bytes that are read to find out how fast memory is


def run() -> list[Result]:
    """Decoding and reading, about three minutes."""
    with all_of_them() as candidates:
        return list(_speeds(candidates))


def _speeds(of: Candidates) -> Iterator[Result]:
    (original, own, others, notes), sizes = of, of.sizes
    ids = original.prompter.plain(PROMPT)
    read: dict[str, Callable[[], float]] = {name: lambda one=one: one.read(PROMPT, ids) for name, one in own.items()}
    written = {name: lambda one=one: one.written(PROMPT, WRITTEN) for name, one in own.items()}
    read |= {name: lambda one=one: one.speed(ids, 1)["read"] for name, one in others.items()}
    written |= {name: lambda one=one: one.speed(ids, WRITTEN)["written"] for name, one in others.items()}
    for kind, what, candidates, least in (
        ("decode", f"tokens a second while {WRITTEN} are written behind a prompt of {len(ids)}", written, 115),
        ("prefill", f"tokens of a prompt of {len(ids)} read a second", read, 500),
    ):

        def said(result: Result, kind: str = kind, least: float = least) -> list[str]:
            goals = [goal(f"{MINE}, tokens a second", result.median(MINE), least=least)]
            if FAST in others:
                goals.append(goal(f"{MINE}, of {FAST}", result.median(MINE) / result.median(FAST), least=1))
            return [*notes, *goals, *(_bandwidth(result, sizes) if kind == "decode" else [])]

        yield measured(
            f"generation-{kind}",
            f"SmolLM2-135M: {what}, on {threads()} threads; sealpress through gate and journal, others alone",
            "tokens/s",
            WIDE,
            in_turn(candidates, times(ROUNDS)),
            notes=said,
            packages=PACKAGES,
        )


def _bandwidth(result: Result, sizes: Mapping[str, int]) -> list[str]:
    """What part of the speed of memory is used: each token reads all weights once."""
    numbers = np.ones(BANDWIDTH // 4, np.float32)
    taken = []
    for _ in range(5):
        began = perf_counter()
        numbers.max()
        taken.append(perf_counter() - began)
    speed = BANDWIDTH / min(taken)
    parts = ", ".join(f"{name} {result.median(name) * size / speed:.2f}" for name, size in sizes.items())
    return [f"One thread read memory at {speed / 1e9:.1f} GB/s in the same run; used of that: {parts}."]
