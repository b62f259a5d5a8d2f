"""For any runs of numbers: each has its nearest word, few runs lose nothing, and making up for errors loses less."""

from __future__ import annotations

from typing import Literal

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from tests.property.test_compress_gptq import drawn
from toolkit.compress.hessian import error
from toolkit.compress.steps.codebook import Codebook, coded
from toolkit.compress.words import COUNT, book, nearest

Word = Literal[2, 3, 4]
RUNS = arrays(np.float32, st.tuples(st.integers(1, 40), st.integers(1, 4)), elements=st.floats(-100, 100, width=32))


@settings(max_examples=10, deadline=None)
@given(RUNS)
def test_fewer_runs_than_words_lose_nothing(runs: NDArray[np.float32]) -> None:
    words = book(runs)
    assert words.shape == (COUNT, runs.shape[1])
    codes = nearest(runs, words)
    distances = np.square(words[None].astype(np.float64) - runs[:, None]).sum(axis=2)
    size = np.square(runs, dtype=np.float64).sum(axis=1) + 1
    assert (distances[np.arange(len(runs)), codes] <= distances.min(axis=1) + 1e-4 * size).all()
    np.testing.assert_allclose(words[codes], runs, atol=0.02, rtol=1e-3)


def test_words_are_where_runs_are_and_where_they_count() -> None:
    random = np.random.default_rng(0)
    runs = random.normal(size=(4000, 2)).astype(np.float32)
    counts = np.where(runs[:, 0] > 0, 100.0, 1.0)

    def lost(words: NDArray[np.float32]) -> float:
        off = np.square(words[nearest(runs, words)] - runs).sum(axis=1)
        return float((counts * off).sum())

    assert np.square(book(runs)[nearest(runs, book(runs))] - runs).mean() < 0.02
    assert lost(book(runs, counts)) < 0.8 * lost(book(runs))


@settings(max_examples=4, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([2, 3, 4]))
def test_the_outputs_err_less_than_with_the_nearest_words(seed: int, word: Word) -> None:
    weights, seen = drawn(seed, 132, 12)
    found = coded(weights, seen, Codebook(word=word))
    runs = (weights / found.scale).reshape(-1, word)
    plain = found.words[nearest(runs, found.words)].reshape(weights.shape) * found.scale
    assert error(weights, found.values(), seen).sum() < 0.7 * error(weights, plain, seen).sum()
