"""Draws follow the distribution that the processors of transformers make of the same scores and settings."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from toolkit.compress.quiet import quiet
from toolkit.runtime.sampling import Sampler, Sampling

with quiet():
    import torch
    from transformers import (
        LogitsProcessorList,
        MinPLogitsWarper,
        RepetitionPenaltyLogitsProcessor,
        TemperatureLogitsWarper,
        TopKLogitsWarper,
        TopPLogitsWarper,
    )

SIZE = 24


def reference(logits: NDArray[np.float32], seen: list[int], how: dict[str, Any]) -> NDArray[np.float64]:
    """Probabilities (vocabulary,), by the processors in the order of ours."""
    processors: Any = LogitsProcessorList()
    if how["repetition_penalty"] != 1:
        processors.append(RepetitionPenaltyLogitsProcessor(how["repetition_penalty"]))
    processors.append(TemperatureLogitsWarper(how["temperature"]))
    if how["top_k"]:
        processors.append(TopKLogitsWarper(how["top_k"]))
    if how["top_p"] < 1:
        processors.append(TopPLogitsWarper(how["top_p"]))
    if how["min_p"]:
        processors.append(MinPLogitsWarper(how["min_p"]))
    scores = processors(torch.tensor([seen]), torch.tensor(logits[None].astype(np.float64)))
    probabilities: NDArray[np.float64] = torch.softmax(scores, -1)[0].numpy()
    return probabilities


class _Even:
    """In place of a generator of random numbers: places evenly apart, so that counts are probabilities."""

    def __init__(self, count: int) -> None:
        self._places = iter((np.arange(count) + 0.5) / count)

    def random(self) -> float:
        return float(next(self._places))


def drawn(logits: NDArray[np.float32], seen: list[int], how: dict[str, Any], count: int) -> NDArray[np.float64]:
    counts = np.zeros(len(logits))
    sampler = Sampler(Sampling.checked(**how), seen)
    even: Any = _Even(count)
    sampler._rng = even
    for _ in range(count):
        sampler._seen = set(seen)  # as for the first token each time
        counts[sampler.choose(logits).id] += 1
    return counts / count


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    seen=st.lists(st.integers(0, SIZE - 1), min_size=1, max_size=6),
    how=st.fixed_dictionaries(
        {
            "temperature": st.sampled_from([0.2, 0.7, 1.0, 1.8]),
            "top_k": st.sampled_from([0, 1, 5, 12]),
            "top_p": st.sampled_from([1.0, 0.9, 0.5, 0.01]),
            "min_p": st.sampled_from([0.0, 0.05, 0.4]),
            "repetition_penalty": st.sampled_from([1.0, 1.3, 0.7]),
        }
    ),
)
def test_draws_are_those_of_the_reference(seed: int, seen: list[int], how: dict[str, Any]) -> None:
    logits = np.random.default_rng(seed).normal(0, 2.5, SIZE).astype(np.float32)
    count = 250
    expected = reference(logits, seen, how)
    given_ = drawn(logits, seen, how, count)
    np.testing.assert_allclose(given_, expected, atol=2 / count)
    # what is cut off is cut off, however small it is
    assert not given_[expected == 0].any()


@pytest.mark.parametrize("penalty", [1.0, 1.7])
def test_logarithms_are_those_of_the_reference(penalty: float) -> None:
    logits = np.random.default_rng(1).normal(0, 4, SIZE).astype(np.float32)
    expected = torch.log_softmax(torch.tensor(logits.astype(np.float64)), -1).numpy()
    chosen = Sampler(Sampling.checked(logprobs=5, repetition_penalty=penalty), [3, 4]).choose(logits)
    assert chosen.logprob == pytest.approx(expected[chosen.id], abs=1e-9)
    assert [value for _, value in chosen.top] == pytest.approx(sorted(expected)[::-1][:5], abs=1e-9)


def test_what_is_not_allowed_is_as_if_it_were_not_there() -> None:
    rng = np.random.default_rng(2)
    for _ in range(20):
        logits = rng.normal(0, 3, SIZE).astype(np.float32)
        allowed = rng.random(SIZE) < 0.4
        allowed[rng.integers(SIZE)] = True
        logits[~allowed] += 900  # however much more probable: what is left is still drawn in its proportions
        how = {"temperature": 0.8, "top_k": 6, "top_p": 0.95, "min_p": 0.01, "repetition_penalty": 1.0}
        inner = reference(logits[allowed], [0], how)
        sampler = Sampler(Sampling.checked(**how), [])
        even: Any = _Even(400)
        sampler._rng = even
        counts = np.zeros(SIZE)
        for _ in range(400):
            counts[sampler.choose(logits, allowed).id] += 1
        np.testing.assert_allclose(counts[allowed] / 400, inner, atol=2 / 400)
        assert not counts[~allowed].any()


def test_scores_of_which_none_that_is_allowed_is_a_number_are_no_draw() -> None:
    logits = np.array([1.0, -np.inf], np.float32)
    for temperature in (0.0, 1.0):
        with pytest.raises(ValueError, match="not finite"):
            Sampler(Sampling.checked(temperature=temperature), []).choose(logits, np.array([False, True]))
