"""Size, speed and fidelity of what was pressed, always beside what it was pressed from."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from policies.gate import Grant
from policies.payload import Payload
from toolkit.runtime.lane import Lane, checked_texts
from toolkit.runtime.session import Feeds

__all__ = ["evaluation_texts", "fidelity", "latencies_ms", "machine", "method", "texts_of"]

TEXTS = 64
TOKENS = 32
ROUNDS = 100
WARM_UP = 10
RESAMPLES = 2000
SEED = 20_240_501

_PROSE = re.compile(r"[A-Z][a-z]*(?: [A-Za-z'(][A-Za-z,;:')-]*){4,}\.?(?: [A-Za-z'(][A-Za-z,;:').-]*)*\.")
_CODE = re.compile(r"\(\)|\.\w|--|\bI+\.|::")


def evaluation_texts() -> list[str]:
    """English passages of 20 to 300 characters from the standard library's language reference (`pydoc_data.topics`).

    The same for every run of one Python release. They are for measuring only: no step ever calibrates on them.
    """
    from pydoc_data.topics import topics  # 700 kB of text that only a compression needs

    passages = list(dict.fromkeys(_passages(topics)))
    step = max(1, len(passages) // TEXTS)
    return passages[::step][:TEXTS]


def method() -> dict[str, str]:
    """How each figure was found, in words for the bundle."""
    return {
        "size_bytes": "bytes of model.onnx",
        "latency_ms": f"median of {ROUNDS} runs at batch 1 x {TOKENS} tokens on one lane with one thread, after "
        f"{WARM_UP} runs to warm up; before and after measured in turn in the same run",
        "fidelity": "mean cosine between the embeddings of the original model in PyTorch (FP32) and those of the ONNX "
        f"file, as the lower 95 % bound (one-sided) of a bootstrap with {RESAMPLES} resamples and a fixed seed",
        "texts": f"{TEXTS} English passages of 20 to 300 characters from pydoc_data.topics, Python "
        f"{platform.python_version()}",
    }


def machine() -> str:
    """The processor, the number of its cores that this process may use, and the system."""
    return f"{_processor()}, {os.cpu_count()} cores, {platform.system()} {platform.machine()}"


def latencies_ms(lanes: Sequence[Lane], grant: Grant, in_force: str) -> list[float]:
    """Median time in milliseconds of each lane at batch 1 x 32 tokens.

    The lanes run in turn, so that whatever else the machine does falls on all of them. Raises Ungated, ModelError.
    """
    texts = texts_of(grant.payload)
    times: list[list[float]] = [[] for _ in lanes]
    tokens = [{name: array[:, :TOKENS] for name, array in lane.tokens([" ".join(texts)]).items()} for lane in lanes]
    feeds = [
        {tensor.name: batch[tensor.name] for tensor in lane.session.inputs}
        for lane, batch in zip(lanes, tokens, strict=True)
    ]
    for _ in range(WARM_UP + ROUNDS):
        for lane, feed, taken in zip(lanes, feeds, times, strict=True):
            start = perf_counter()
            lane.session.run(grant, in_force, partial(_only, feed))
            taken.append(perf_counter() - start)
    return [float(np.median(taken[WARM_UP:])) * 1000 for taken in times]


def fidelity(reference: NDArray[np.float32], candidate: NDArray[np.float32]) -> float:
    """Lower 95 % bound (one-sided percentile bootstrap, Efron 1979) of the mean cosine between rows, at most 1.

    Both are (texts, hidden). NaN where an embedding is not finite; a row of zeros has cosine 0.
    """
    left, right = reference.astype(np.float64), candidate.astype(np.float64)
    norms = np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1)
    cosines = (left * right).sum(axis=1) / np.where(norms == 0, 1, norms)
    samples = np.random.default_rng(SEED).integers(len(cosines), size=(RESAMPLES, len(cosines)))
    return float(np.minimum(1, np.quantile(cosines[samples].mean(axis=1), 0.05)))  # min() would hide a NaN


def texts_of(payload: Payload) -> list[str]:
    """The texts to measure on in the payload of a compression. Raises InputError."""
    value = payload.value
    return checked_texts(value.get("texts") if isinstance(value, dict) else None)


def _only(feed: Feeds, _: Payload) -> list[Feeds]:
    return [feed]


def _passages(topics: dict[str, str]) -> Iterator[str]:
    for name in sorted(topics):
        for paragraph in re.split(r"\n\s*\n", topics[name]):
            passage = " ".join(paragraph.split())
            if 20 <= len(passage) <= 300 and _PROSE.fullmatch(passage) and not _CODE.search(passage):
                yield passage


def _processor() -> str:
    try:
        described = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor() or "unknown processor"
    name = re.search(r"^model name\s*:\s*(.+)$", described, re.M)
    return name[1] if name else platform.processor() or "unknown processor"
