"""How well a model that generates foretells a text, beside the model that it was pressed from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from policies.facts import Tensor
from toolkit.compress.results import Interval
from toolkit.runtime.session import Feeds
from toolkit.runtime.slots import PAST

__all__ = [
    "TOKENS",
    "compared",
    "divergence",
    "divergences",
    "lost",
    "one_token",
    "padded",
    "perplexity",
    "preferred",
    "spread",
]

TOKENS = 512  # of a text, at most, that the perplexity is found on and that steps learn from
FEWEST, MOST = 8, 128  # of a text, whose logits are compared
SPREAD = 32  # of a text, all over it, whose logits are held against those of many models
ROOM = 400_000_000  # bytes, for the logits of all texts
RESAMPLES = 2000
SEED = 20_240_501


def compared(outputs: Sequence[Tensor], texts: int) -> int:
    """Of how many tokens of each text logits are compared: each has a row of the whole vocabulary."""
    vocabulary = next(int(tensor.shape[-1]) for tensor in outputs if tensor.name == "logits")
    return max(FEWEST, min(MOST, ROOM // (4 * vocabulary * texts)))


def lost(logits: NDArray[np.float32], ids: NDArray[np.int64]) -> NDArray[np.float64]:
    """Minus the logarithm of the probability of each token but the first, (tokens - 1,), for logits (tokens,
    vocabulary)."""
    found = _logs(logits[:-1])
    picked: NDArray[np.float64] = -found[np.arange(len(ids) - 1), ids[1:]]
    return picked


def perplexity(texts: Sequence[NDArray[np.float64]], tokens: Sequence[int]) -> Interval:
    """The exponential of the mean loss over all `tokens` of all texts; its bounds are from resampled texts (Efron
    1979).

    NaN where no text has two tokens.
    """
    sums = np.array([float(one.sum()) for one in texts])
    counts = np.array(tokens)
    if not counts.any():
        return Interval(mean=float("nan"), low=float("nan"), high=float("nan"))
    samples = np.random.default_rng(SEED).integers(len(texts), size=(RESAMPLES, len(texts)))
    resampled = np.exp(sums[samples].sum(axis=1) / np.maximum(counts[samples].sum(axis=1), 1))
    low, high = np.quantile(resampled, (0.05, 0.95))
    return Interval(mean=float(np.exp(sums.sum() / counts.sum())), low=float(low), high=float(high))


def preferred(losses: Sequence[float], choices: Sequence[str]) -> int:
    """Which of some ways to go on a model takes for the most likely: that with the least loss for a byte of UTF-8, so
    that a short one has no advantage (Gao et al., "A Framework for Few-Shot Language Model Evaluation", acc_norm)."""
    return int(np.argmin([lost / len(one.encode()) for lost, one in zip(losses, choices, strict=True)]))


def padded(answers: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Logits (1, tokens, vocabulary) of texts in one array (texts, tokens, vocabulary), NaN behind the end."""
    longest = max(answer.shape[1] for answer in answers)
    found = np.full((len(answers), longest, answers[0].shape[2]), np.nan, np.float32)
    for row, answer in zip(found, answers, strict=True):
        row[: answer.shape[1]] = answer[0]
    return found


def divergences(reference: NDArray[np.float32], answers: NDArray[np.float32]) -> NDArray[np.float64]:
    """1 minus the mean over the tokens of a text of the Kullback-Leibler divergence of what comes next, (texts,), for
    logits that `padded` put in one array. NaN where an answer is not finite."""
    found = np.full(len(reference), np.nan)
    for text, (left, right) in enumerate(zip(reference, answers, strict=True)):
        there = np.isfinite(left[:, 0])
        if np.isfinite(right[there]).all():
            one, other = _logs(left[there]), _logs(right[there])
            found[text] = 1 - (np.exp(one) * (one - other)).sum(axis=1).mean()
    return found


def spread(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Those of some tokens of a text, the first and the last and others between them, (tokens, vocabulary) of logits
    (1, tokens, vocabulary): a vocabulary is long, and neighbours say much the same."""
    tokens = logits.shape[1]
    places = np.unique(np.linspace(0, tokens - 1, min(SPREAD, tokens)).round().astype(np.intp))
    found: NDArray[np.float32] = logits[0, places]
    return found


def divergence(reference: NDArray[np.float32], answers: NDArray[np.float32]) -> float:
    """The mean over tokens of the Kullback-Leibler divergence of what comes next, for logits (tokens, vocabulary);
    without end where an answer is not finite."""
    if not np.isfinite(answers).all():
        return float("inf")
    one, other = _logs(reference), _logs(answers)
    return float((np.exp(one) * (one - other)).sum(axis=1).mean())


def one_token(feeds: Feeds, behind: int) -> dict[str, NDArray[Any]]:
    """The first token of a text behind a cache of so many, as one step of a decoder is."""
    made: dict[str, NDArray[Any]] = {**feeds, "input_ids": feeds["input_ids"][:, :1]}
    made["attention_mask"] = np.ones((1, behind + 1), np.int64)
    made["num_logits_to_keep"] = np.ones(1, np.int64)
    for name, empty in feeds.items():
        if name.startswith(PAST):
            made[name] = np.zeros((1, empty.shape[1], behind, empty.shape[3]), np.float32)
    return made


def _logs(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    """The logarithms of the probabilities, row by row."""
    shifted = logits.astype(np.float64) - logits.max(axis=-1, keepdims=True)
    logs: NDArray[np.float64] = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return logs
