"""How well text is foretold, and how far from FP32 the bundles are, which no other use of the machine changes.

The logits of a bundle are those of its graph in ONNX Runtime.
"""

from __future__ import annotations

import pydoc_data.topics
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from benchmarks.frame import Result, goal, measured, times
from benchmarks.generation.candidates import (
    FINE,
    MINE,
    PACKAGES,
    TEXTS,
    Candidates,
    all_of_them,
    cut,
    passages,
)
from benchmarks.generation.own import logs

__all__ = ["run"]

TOKENS = 512
WHERE = {"wiki": "wiki_passages/dev", "pydoc": "the topics of pydoc"}


def run() -> list[Result]:
    """Perplexity on two kinds of text, about five minutes. Raises FileNotFoundError without wiki_passages."""
    topics = cut("\n\n".join(pydoc_data.topics.topics[name] for name in sorted(pydoc_data.topics.topics)))
    with all_of_them() as candidates:
        return [_quality(kind, texts, candidates) for kind, texts in (("wiki", passages()), ("pydoc", topics))]


def _quality(kind: str, texts: Sequence[str], of: Candidates) -> Result:
    original, own, others, notes = of
    losses: dict[str, list[NDArray[np.float64]]] = {name: [] for name in ("FP32", *own, *others)}
    apart: dict[str, list[float]] = {name: [] for name in own}
    for text in texts[: times(TEXTS)]:
        ids = original.prompter.plain(text)[:TOKENS]
        parent = logs(original.logits(ids))
        losses["FP32"].append(_lost(parent, ids))
        for name, one in own.items():
            mine = logs(one.logits(ids))
            losses[name].append(_lost(mine, ids))
            apart[name].append(float((np.exp(parent) * (parent - mine)).sum(axis=-1).mean()))
        for name, peer in others.items():
            losses[name].append(peer.lost(ids))
    rounds = {name: [float(np.exp(np.concatenate(some).mean()))] for name, some in losses.items()}
    far = ", ".join(f"{name} {np.mean(some):.4f}" for name, some in apart.items())

    def said(result: Result) -> list[str]:
        found = [*notes, f"Kullback-Leibler divergence from FP32, nats a token: {far}."]
        found.append(goal(f"{MINE}, of FP32", result.ratio(MINE), most=1.05))
        if FINE in others:
            found.append(goal(f"{MINE}, of {FINE}", result.median(MINE) / result.median(FINE), most=1))
        return found

    what = f"SmolLM2-135M: perplexity on {TEXTS} texts of {WHERE[kind]}, of at most {TOKENS} tokens"
    return measured(f"generation-perplexity-{kind}", what, "", "FP32", rounds, notes=said, packages=PACKAGES)


def _lost(found: NDArray[np.float32], ids: Sequence[int]) -> NDArray[np.float64]:
    return -found[np.arange(len(ids) - 1), ids[1:]].astype(np.float64)
