"""A book of a few words for many: short runs of numbers, each replaced by the number of the nearest word of a book.

Lloyd, "Least Squares Quantization in PCM", 1982; first words as in Arthur and Vassilvitskii, "k-means++: The Advantages
of Careful Seeding", 2007.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["COUNT", "book", "nearest"]

Numbers = NDArray[np.float32]

COUNT = 256  # words of a book, which a byte tells apart
# runs that the words are found from: those that lie farthest out, which no word near them would cost much, and others
FAR, LEARNED = 1000, 12_000
ROUNDS = 20
AT_ONCE = 50_000  # runs, which bounds the memory
SEED = 0


def book(runs: Numbers, weights: NDArray[np.float64] | None = None) -> Numbers:
    """The words (COUNT, length) that stand for runs (count, length) with little square error; `weights` (count,) say
    how much that of each run counts."""
    farthest = np.argsort(-np.square(runs).sum(axis=1), kind="stable")
    others = np.random.default_rng(SEED).permutation(farthest[FAR:])[:LEARNED]
    some = np.concatenate([farthest[:FAR], others])
    shown = np.ascontiguousarray(runs[some])
    counts = np.ones(len(shown)) if weights is None else weights[some]
    # each of the others stands for several
    counts[FAR:] *= max(1.0, (len(runs) - FAR) / LEARNED)
    words = _first(shown, counts)
    before = None
    for _ in range(ROUNDS):
        chosen = nearest(shown, words)
        if before is not None and (chosen == before).all():
            break
        before = chosen
        uses = np.bincount(chosen, weights=counts, minlength=COUNT)
        sums = [np.bincount(chosen, weights=counts * column, minlength=COUNT) for column in shown.T]
        means = np.stack(sums, axis=1) / np.where(uses > 0, uses, 1)[:, None]
        words = np.where(uses[:, None] > 0, means, words).astype(np.float32)
    return words


def nearest(runs: Numbers, words: Numbers) -> NDArray[np.uint8]:
    """The number of the word (count,) that is nearest to each run."""
    import torch

    known = torch.from_numpy(words)
    half = known.square().sum(dim=1) / 2
    parts = [
        (half - torch.from_numpy(np.ascontiguousarray(runs[start : start + AT_ONCE])) @ known.T).argmin(dim=1)
        for start in range(0, len(runs), AT_ONCE)
    ]
    return torch.cat(parts).numpy().astype(np.uint8)


def _first(runs: Numbers, counts: NDArray[np.float64]) -> Numbers:
    random = np.random.default_rng(SEED)
    chosen = [int(random.integers(len(runs)))]
    far = np.full(len(runs), np.inf)
    while len(chosen) < COUNT:
        far = np.minimum(far, np.square(runs - runs[chosen[-1]]).sum(axis=1, dtype=np.float64))
        sums = np.cumsum(far * counts)
        # where there are fewer runs than words, some words are there twice
        at = int(np.searchsorted(sums, random.random() * sums[-1], side="right"))
        chosen.append(min(at, len(runs) - 1))
    return runs[chosen]
