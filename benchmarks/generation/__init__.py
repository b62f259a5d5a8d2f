"""SmolLM2-135M pressed by recipes of the toolkit, beside other engines: how fast it reads and writes, and how well it
foretells text.

All read the same tokens. Bundles are asked as a user asks them, through the gate and into the journal; other engines
alone. The parent is a file of few bits already, which every result says.
"""

from __future__ import annotations

import pydoc_data.topics
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from benchmarks.frame import Result, goal, in_turn, measured, times
from benchmarks.generation.own import Original, Own, logs, threads
from benchmarks.generation.peers import Peer, engines

__all__ = ["run"]

DATA = Path(__file__).resolve().parents[3] / "shared" / "data" / "wiki_passages"
SMALL = "offset-t8"
RECIPES = ("w8-t8", SMALL)
WRITTEN, ROUNDS = 96, 5
TEXTS, CHARACTERS, TOKENS = 12, 2400, 512
WHERE = {"wiki": "wiki_passages/dev", "pydoc": "the topics of pydoc"}
BANDWIDTH = 512_000_000  # bytes that are read to find out how fast memory is
PACKAGES = ["sealpress", "onnxruntime", "numpy", "tokenizers"]
PROMPT = "The nurse on the third ward asks where the patient with the fever was moved to last night. " * 6
FAST, FINE, WIDE = "llama.cpp Q4_0", "llama.cpp Q4_K_M", "sealpress w8-t8"


def run() -> list[Result]:
    """Decoding, reading and perplexity. Raises FileNotFoundError without the passages of Wikipedia."""
    original = Original()
    passages = _cut((DATA / "dev.txt").read_text("utf-8"))
    topics = _cut("\n\n".join(pydoc_data.topics.topics[name] for name in sorted(pydoc_data.topics.topics)))
    own = {f"sealpress {recipe}": Own(recipe, original, passages) for recipe in RECIPES}
    others, missing = engines(original)
    sizes = {name: one.size for name, one in {**own, **others}.items()}
    notes = [
        f"The parent is a file of few bits already: {original.rounded}. What llama.cpp has in other types is quantised "
        "anew from it, and FP32 is the file made floats.",
        "MB: " + ", ".join(f"{name} {size / 1e6:.1f}" for name, size in sizes.items()) + ".",
        *missing,
    ]
    try:
        found = list(_speeds(original, own, others, notes))
        for kind, texts in (("wiki", passages), ("pydoc", topics)):
            found.append(_quality(kind, texts, original, own, others, notes))
        return found
    finally:
        for peer in others.values():
            peer.close()


def _speeds(
    original: Original, own: Mapping[str, Own], others: Mapping[str, Peer], notes: Sequence[str]
) -> Iterator[Result]:
    ids = original.prompter.plain(PROMPT)
    read: dict[str, Callable[[], float]] = {name: lambda one=one: one.read(PROMPT, ids) for name, one in own.items()}
    written = {name: lambda one=one: one.written(PROMPT, WRITTEN) for name, one in own.items()}
    read |= {name: lambda one=one: one.speed(ids, 1)["read"] for name, one in others.items()}
    written |= {name: lambda one=one: one.speed(ids, WRITTEN)["written"] for name, one in others.items()}
    sizes = {name: one.size for name, one in {**own, **others}.items()}
    for kind, what, candidates, least in (
        ("decode", f"tokens a second while {WRITTEN} are written behind a prompt of {len(ids)}", written, 115),
        ("prefill", f"tokens of a prompt of {len(ids)} read a second", read, 500),
    ):

        def said(result: Result, kind: str = kind, least: float = least) -> list[str]:
            mine = f"sealpress {SMALL}"
            goals = [goal(f"{mine}, tokens a second", result.median(mine), least=least)]
            if FAST in others:
                goals.append(goal(f"{mine}, of {FAST}", result.median(mine) / result.median(FAST), least=1))
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


def _quality(
    kind: str,
    texts: Sequence[str],
    original: Original,
    own: Mapping[str, Own],
    others: Mapping[str, Peer],
    notes: Sequence[str],
) -> Result:
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
        mine = f"sealpress {SMALL}"
        found = [*notes, f"Kullback-Leibler divergence from FP32, nats a token: {far}."]
        found.append(goal(f"{mine}, of FP32", result.ratio(mine), most=1.05))
        return found if FINE not in others else [*found, goal(f"{mine}, of {FINE}", _of(result, mine), most=1)]

    what = f"SmolLM2-135M: perplexity on {TEXTS} texts of {WHERE[kind]}, of at most {TOKENS} tokens"
    return measured(f"generation-perplexity-{kind}", what, "", "FP32", rounds, notes=said, packages=PACKAGES)


def _of(result: Result, mine: str) -> float:
    return result.median(mine) / result.median(FINE)


def _lost(found: NDArray[np.float32], ids: Sequence[int]) -> NDArray[np.float64]:
    return -found[np.arange(len(ids) - 1), ids[1:]].astype(np.float64)


def _cut(text: str) -> list[str]:
    """Texts from places all over a long one."""
    apart = len(text) // TEXTS
    return [text[at * apart : at * apart + CHARACTERS] for at in range(TEXTS)]
