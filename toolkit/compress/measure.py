"""Size, speed and fidelity of what was pressed, always beside what it was pressed from."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from policies.gate import Grant
from toolkit.compress import likelihood
from toolkit.compress.data import Items
from toolkit.compress.labelled import agreement, padded
from toolkit.compress.results import Fidelity, Interval, Slice
from toolkit.compress.source import Measure
from toolkit.extras import needs
from toolkit.runtime.lane import Lane
from toolkit.runtime.session import Feeds

__all__ = [
    "TOKENS",
    "evaluation_texts",
    "fidelity",
    "interval",
    "latencies_ms",
    "machine",
    "method",
    "method_in_turn",
    "ratio",
    "scores",
    "stacked",
    "task_metrics",
    "transport_bytes",
]

TEXTS = 64
TOKENS = 32
ROUNDS = 100
WARM_UP = 10
RESAMPLES = 2000
SEED = 20_240_501
WORST = 10
ZSTD = 3  # the level
LEAST = 1e-9  # of a probability, so that one that rounding made zero weighs much and not everything
MEANING: dict[Measure, str] = {
    "cosine": "cosine of the embeddings",
    "agreement": "share of items with the same top class",
    "tokens": "mean over the texts of the share of tokens with the same label, among those that either model takes for "
    "a part of an entity",
    "divergence": "1 minus the Kullback-Leibler divergence of the class probabilities",
    "correlation": "Pearson's correlation of the raw outputs",
    "next": "1 minus the Kullback-Leibler divergence of the probabilities of the next token, mean over the tokens",
}

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


def method(measure: Measure, items: str) -> dict[str, str]:
    """How each figure was found, in words for the bundle. `items` says what was measured on."""
    return {
        "size_bytes": "bytes of model.onnx",
        "latency_ms": f"median of {ROUNDS} runs at batch 1 ({_given(measure)}) on one lane with one thread, "
        f"after {WARM_UP} runs to warm up; before and after measured in turn in the same run",
        "fidelity": f"{MEANING[measure]}, against the original model in FP32, as the lower 95 % bound (one-sided) of a "
        f"bootstrap of the mean with {RESAMPLES} resamples and a fixed seed",
        "transport_bytes": f"bytes of model.onnx packed with zstd at level {ZSTD}",
        "items": items,
    }


def _given(measure: Measure) -> str:
    return f"one token behind {TOKENS}" if measure == "next" else f"a text: {TOKENS} tokens"


def method_in_turn(measure: Measure, items: str) -> dict[str, str]:
    """The same for several bundles side by side."""
    return {
        "size": "bytes of model.onnx",
        "latency": f"median of {ROUNDS} runs at batch 1 on one thread, after {WARM_UP} runs to warm up; one run of "
        "each bundle in turn, so that whatever else the machine does falls on all of them",
        "agreement": f"{MEANING[measure]}, against the first bundle: mean, and the 5 % and 95 % quantiles of a "
        f"bootstrap with {RESAMPLES} resamples and a fixed seed",
        "recorded": "fidelity to the original as it stands in the bundle: the lower 95 % bound that was found when it "
        "was pressed, on the items of that time",
        "items": items,
    }


def machine() -> str:
    """The processor, the number of its cores that this process may use, and the system."""
    return f"{_processor()}, {os.cpu_count()} cores, {platform.system()} {platform.machine()}"


def latencies_ms(lanes: Sequence[Lane], feeds: Feeds, grant: Grant, in_force: str) -> list[float]:
    """Median time in milliseconds of each lane on one batch.

    The lanes run in turn, so that whatever else the machine does falls on all of them. Raises Ungated, ModelError.
    """
    times: list[list[float]] = [[] for _ in lanes]
    for _ in range(WARM_UP + ROUNDS):
        for lane, taken in zip(lanes, times, strict=True):
            start = perf_counter()
            lane.session.run(grant, in_force, lambda _: [feeds])
            taken.append(perf_counter() - start)
    return [float(np.median(taken[WARM_UP:])) * 1000 for taken in times]


def stacked(measure: Measure, answers: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Answers to one item each, (1, ...), one behind the other (items, ...). Those that are as long as their items are
    brought to one length: see `labelled.padded` for labels of tokens; others become rows with zeros behind the end."""
    if measure == "tokens":
        return padded(answers)
    if measure == "next":
        return likelihood.padded(answers)
    if len({answer.shape for answer in answers}) > 1:
        longest = max(answer.size for answer in answers)
        answers = [np.pad(answer.reshape(1, -1), ((0, 0), (0, longest - answer.size))) for answer in answers]
    return np.concatenate(answers)


def scores(
    measure: Measure, reference: NDArray[np.float32], answers: NDArray[np.float32], labels: Sequence[str] = ()
) -> NDArray[np.float64]:
    """How near each answer is to that of the original, (items,); 1 is the same. Both are (items, ...).

    cosine: of embeddings; a row of zeros has 0. agreement: 1 where the top class is the same, else 0. tokens: see
    toolkit.compress.labelled.agreement, `labels` are those of the model. divergence: 1
    minus the Kullback-Leibler divergence of the probabilities from the original's, which are the softmax of numbers
    that are none. correlation: Pearson's, over the numbers of an answer; two answers that do not vary have 1 where they
    are the same. next: see toolkit.compress.likelihood.divergences. NaN where an answer is not finite.
    """
    if measure == "tokens":
        return agreement(reference, answers, labels)
    if measure == "next":
        alike = reference.shape == answers.shape
        return likelihood.divergences(reference, answers) if alike else np.full(len(reference), np.nan)
    left = reference.reshape(len(reference), -1).astype(np.float64)
    right = answers.reshape(len(answers), -1).astype(np.float64)
    if left.shape != right.shape:
        return np.full(len(left), np.nan)
    match measure:
        case "agreement":
            found = (left.argmax(axis=1) == right.argmax(axis=1)).astype(np.float64)
        case "divergence":
            left, right = _log_probabilities(left), _log_probabilities(right)
            found = 1 - (np.exp(left) * (left - right)).sum(axis=1)
        case "correlation":
            same = np.isclose(left, right).all(axis=1)
            found = np.where(same, np.float64(1.0), _cosines(_centred(left), _centred(right)))
        case "cosine":
            found = _cosines(left, right)
    found = np.asarray(np.minimum(found, 1.0))  # which keeps NaN
    found[~np.isfinite(right).all(axis=1)] = np.nan
    return found


def interval(values: NDArray[np.float64]) -> Interval:
    """The mean, with the 5 % and 95 % quantiles of its percentile bootstrap (Efron 1979). NaN stays NaN."""
    samples = np.random.default_rng(SEED).integers(len(values), size=(RESAMPLES, len(values)))
    low, high = np.quantile(values[samples].mean(axis=1), (0.05, 0.95))
    return Interval(mean=float(values.mean()), low=float(low), high=float(high))


def fidelity(
    measure: Measure,
    reference: NDArray[np.float32],
    answers: NDArray[np.float32],
    items: Items,
    lengths: Sequence[int] = (),
    labels: Sequence[str] = (),
) -> Fidelity:
    """How near the answers are to the original's, over all items and by slice. `lengths` are the tokens of texts,
    `labels` the classes of the model."""
    found = scores(measure, reference, answers, labels)
    slices = [
        Slice(name=name, items=int(chosen.sum()), score=interval(found[chosen]))
        for name, chosen in _slices(items, lengths)
        if chosen.any()
    ]
    order = np.argsort(np.where(np.isnan(found), -np.inf, found), kind="stable")[:WORST]
    return Fidelity(
        measure=measure,
        score=interval(found),
        slices=tuple(slices),
        worst=tuple(int(number) for number in order),
        worst_scores=tuple(float(found[number]) for number in order),
    )


def task_metrics(answers: NDArray[np.float32], items: Items, labels: tuple[str, ...]) -> dict[str, Interval]:
    """The task's own metric where the items carry what is right.

    accuracy: of the class that is named first. spearman: the rank correlation with the score, of a model that answers
    with one number; its bounds are from resampled items.
    """
    if items.labels and set(items.labels) <= set(labels) and answers.shape[1:] == (len(labels),):
        tops = answers.argmax(axis=1)
        right = np.array([labels[top] == label for top, label in zip(tops, items.labels, strict=True)])
        return {"accuracy": interval(right.astype(np.float64))}
    if items.scores and answers.shape[1:] == (1,):
        given, expected = answers[:, 0].astype(np.float64), np.array(items.scores)
        samples = np.random.default_rng(SEED).integers(len(expected), size=(RESAMPLES, len(expected)))
        found = [_spearman(given[sample], expected[sample]) for sample in samples]
        low, high = np.quantile(found, (0.05, 0.95))
        return {"spearman": Interval(mean=_spearman(given, expected), low=float(low), high=float(high))}
    return {}


def ratio(parts: NDArray[np.int64], wholes: NDArray[np.int64]) -> Interval | None:
    """All parts over all wholes, both (items,); its bounds are from resampled items. None where there is no whole."""
    if not wholes.any():
        return None
    samples = np.random.default_rng(SEED).integers(len(wholes), size=(RESAMPLES, len(wholes)))
    over = wholes[samples].sum(axis=1)
    low, high = np.quantile(parts[samples].sum(axis=1)[over > 0] / over[over > 0], (0.05, 0.95))
    return Interval(mean=float(parts.sum() / wholes.sum()), low=float(low), high=float(high))


def transport_bytes(model: bytes) -> int:
    """What a model weighs on its way, packed with Zstandard (RFC 8878) at its usual level, as `zstd FILE` does."""
    with needs("compress"):
        from backports import zstd
    return len(zstd.compress(model, ZSTD))


def _spearman(left: NDArray[np.float64], right: NDArray[np.float64]) -> float:
    """Pearson's correlation of the ranks; equal numbers share the mean of their ranks. 0 where one does not vary."""
    return float(_cosines(_centred(_ranks(left)[None]), _centred(_ranks(right)[None]))[0])


def _ranks(row: NDArray[np.float64]) -> NDArray[np.float64]:
    ordered = np.sort(row)
    ranks: NDArray[np.float64] = (
        np.searchsorted(ordered, row, "left") + np.searchsorted(ordered, row, "right") - 1
    ) / 2
    return ranks


def _cosines(left: NDArray[np.float64], right: NDArray[np.float64]) -> NDArray[np.float64]:
    norms = np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1)
    cosines: NDArray[np.float64] = (left * right).sum(axis=1) / np.where(norms == 0, 1, norms)
    return cosines


def _centred(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    centred: NDArray[np.float64] = rows - rows.mean(axis=1, keepdims=True)
    return centred


def _log_probabilities(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of rows that are probabilities already, their logarithms; of others, those of their softmax."""
    if (rows >= 0).all() and np.allclose(rows.sum(axis=1), 1, atol=1e-3):
        rows = np.log(np.maximum(rows, LEAST))
    return _log_softmax(rows)


def _log_softmax(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    shifted = rows - rows.max(axis=1, keepdims=True)
    logs: NDArray[np.float64] = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return logs


def _slices(items: Items, lengths: Sequence[int]) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    """By length in powers of two, by label, and by the user's own classes."""
    bound = 1
    while lengths and bound <= max(lengths):
        yield f"length {bound}-{2 * bound - 1}", np.array([bound <= length < 2 * bound for length in lengths])
        bound *= 2
    for kind, names in (("label", items.labels), ("class", items.classes)):
        for name in sorted(set(names)):
            yield f"{kind} {name}", np.array([one == name for one in names])


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
