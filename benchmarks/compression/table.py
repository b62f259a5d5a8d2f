"""Candidates measured beside each other: one Result a shape, with sizes and fidelities as its notes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from benchmarks.compression.peers import Candidate, Feeds
from benchmarks.frame import Result, in_turn, measured, times
from toolkit.compress.measure import interval, scores
from toolkit.compress.results import Interval
from toolkit.compress.source import Measure

__all__ = ["FP32", "agreed", "encoder_share", "results", "timed"]

FP32 = "ONNX Runtime FP32"
ROUNDS = 7
PACKAGES = ["onnxruntime", "onnx", "torch", "numpy"]


def results(
    name: str,
    what: str,
    candidates: Mapping[str, Candidate],
    evaluate: Sequence[Feeds],
    answered: Callable[[NDArray[Any], Feeds], NDArray[np.float32]],
    measures: Sequence[Measure],
    shapes: Mapping[str, tuple[Feeds, int]],
    notes: Sequence[str],
) -> list[Result]:
    """`answered` makes one row of an answer; `shapes` map a name to a batch and how often it runs in a round. The
    answers of the candidate called FP32 are what the others are held against."""
    answers = {
        key: np.concatenate([answered(one.answers(feeds), feeds) for feeds in evaluate])
        for key, one in candidates.items()
    }
    said = []
    for key, one in candidates.items():
        found = [(kind, interval(scores(kind, answers[FP32], answers[key]))) for kind in measures]
        told = ", ".join(f"{kind} {value.mean:.4f} ({value.low:.4f} or more)" for kind, value in found)
        said.append(f"{key}: {one.size / 1e6:.2f} MB ({one.packed / 1e6:.2f} packed), {told}")
        print(f"  {said[-1]}", flush=True)
    made = []
    for shape, (feeds, runs) in shapes.items():
        made.append(
            measured(
                f"{name}-{shape}",
                f"{what}; {shape}, one thread; the lower the better",
                "ms",
                FP32,
                timed(candidates, feeds, runs),
                notes=[*said, *notes],
                packages=PACKAGES,
            )
        )
    return made


def timed(candidates: Mapping[str, Candidate], feeds: Feeds, runs: int, rounds: int = ROUNDS) -> dict[str, list[float]]:
    """Milliseconds of a run of each candidate, the median of `runs` in each round, round by round in turn."""
    for one in candidates.values():
        one.seconds(feeds, max(1, runs // 3))  # warm up
    asked = {key: partial(_milliseconds, one, feeds, runs) for key, one in candidates.items()}
    return in_turn(asked, times(rounds))


def agreed(measure: Measure, original: NDArray[np.float32], answers: NDArray[np.float32], alike: int) -> Interval:
    """The mean score with the bounds of a bootstrap over runs of `alike` items, which count as one."""
    return interval(scores(measure, original, answers).reshape(-1, alike).mean(axis=1))


def encoder_share(path: Path, fp32: Path) -> float:
    """How many of the numbers of a float model are left, tables of embeddings aside."""
    return _numbers(path) / _numbers(fp32)


def _numbers(path: Path) -> int:
    graph = onnx.load(path).graph
    tables = {node.input[0] for node in graph.node if node.op_type == "Gather"}
    floats = [one for one in graph.initializer if one.data_type == onnx.TensorProto.FLOAT and one.name not in tables]
    return sum(math.prod(one.dims) for one in floats)


def _milliseconds(candidate: Candidate, feeds: Feeds, runs: int) -> float:
    return 1000 * candidate.seconds(feeds, runs)
