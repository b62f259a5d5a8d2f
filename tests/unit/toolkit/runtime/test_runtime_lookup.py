"""What is tried ahead changes how long an answer takes, and never what it says: to the last bit, for each kernel."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.unit.toolkit.runtime.decoder_kinds import KINDS, VOCABULARY, graph
from toolkit.runtime.cache import Alone, Cache
from toolkit.runtime.lookup import RUN, Ahead, paired
from toolkit.runtime.sampling import Chosen, Sampler, Sampling
from toolkit.runtime.session import Session
from toolkit.runtime.slots import Slots

ROOM = 96
PROMPT = [5, 6, 7, 8, 9, 5, 6, 7]
Caches = Callable[[], Cache]


# of the kernels that decoders are run by, those that give a token the same in runs of several (test_runtime_alike.py)
@pytest.fixture(scope="module", params=[kind for kind in KINDS if kind != "int8"])
def caches(request: pytest.FixtureRequest) -> Caches:
    session = Session(graph(request.param), "", threads=2)
    return lambda: Cache(Alone(Slots(session._session, session.inputs, VOCABULARY, 1, ROOM)))


class Said(NamedTuple):
    chosen: list[Chosen]
    logits: NDArray[np.float32]  # (tokens, vocabulary)
    runs: int


def answer(caches: Caches, ids: Sequence[int], sampling: Sampling, tries: int) -> Said:
    with caches() as cache:
        logits = [paired(cache, ids)]
        ahead = Ahead(cache, ids, len(ids) + sampling.max_tokens, tries)
        sampler = Sampler(sampling, ids)
        chosen = [sampler.choose(logits[0])]
        while len(chosen) < sampling.max_tokens:
            logits.append(ahead.step([chosen[-1].id])[0])
            chosen.append(sampler.choose(logits[-1]))
    return Said(chosen, np.stack(logits), ahead.runs)


def test_a_prompt_of_one_token_has_the_logits_that_it_has_before_others(caches: Caches) -> None:
    with caches() as one, caches() as two:
        first = paired(one, [5])
        assert one.tokens == 1
        np.testing.assert_array_equal(first, two.step([5, 6, 7], keep=3)[0])
        two.back(1)
        np.testing.assert_array_equal(paired(one, [6, 7]), two.step([6, 7])[0])
        assert (one.tokens, two.tokens) == (3, 3)


def test_what_repeats_takes_fewer_runs(caches: Caches) -> None:
    """A penalty below one draws what was there before."""
    sampling = Sampling.checked(max_tokens=60, repetition_penalty=0.2, seed=1)
    without = answer(caches, PROMPT, sampling, 0)
    tried = answer(caches, PROMPT, sampling, RUN - 1)
    assert tried.chosen == without.chosen
    assert without.runs == 59
    assert tried.runs < 50


@settings(max_examples=15, deadline=None)
@given(
    ids=st.lists(st.integers(3, 12), min_size=1, max_size=30),
    how=st.fixed_dictionaries(
        {
            "temperature": st.sampled_from([0.0, 0.3, 1.0]),
            "top_p": st.sampled_from([1.0, 0.7]),
            "top_k": st.sampled_from([0, 3]),
            "min_p": st.sampled_from([0.0, 0.2]),
            "repetition_penalty": st.sampled_from([0.3, 1.0, 1.3]),
            "seed": st.integers(0, 2**53 - 1),
            "max_tokens": st.integers(1, 40),
        }
    ),
    tries=st.integers(1, RUN - 1),
)
def test_an_answer_is_the_same_whatever_is_tried(
    caches: Caches, ids: list[int], how: dict[str, Any], tries: int
) -> None:
    """To the last bit of its logits, of which the text is drawn."""
    sampling = Sampling.checked(logprobs=2, **how)
    without, tried = answer(caches, ids, sampling, 0), answer(caches, ids, sampling, tries)
    assert tried.chosen == without.chosen
    np.testing.assert_array_equal(tried.logits, without.logits)


class _Counting:
    """In place of a cache: what is run, and logits that say which tokens they come after."""

    def __init__(self) -> None:
        self.tokens: list[int] = []
        self.runs: list[list[int]] = []

    def back(self, tokens: int) -> None:
        assert 0 <= tokens <= len(self.tokens)
        del self.tokens[tokens:]

    def step(self, ids: Sequence[int], *, keep: int = 1) -> Any:
        assert keep == len(ids)
        self.runs.append(list(ids))
        rows = []
        for token in ids:
            self.tokens.append(token)
            rows.append(np.float32(hash(tuple(self.tokens)) % 10_000))
        return np.array(rows)[:, None]


def ahead_of(ids: Sequence[int], **how: Any) -> tuple[_Counting, Ahead]:
    cache = _Counting()
    cache.tokens += ids
    double: Any = cache
    return cache, Ahead(double, ids, 1000, **how)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(0, 3), min_size=1, max_size=20), st.lists(st.integers(0, 3), max_size=60))
def test_logits_are_of_what_was_said_and_of_nothing_else(ids: list[int], said: list[int]) -> None:
    cache, ahead = ahead_of(ids)
    whole = list(ids)
    for token in said:
        whole.append(token)
        (row,) = ahead.step([token])
        assert row == np.float32(hash(tuple(whole)) % 10_000)
    assert all(2 <= len(run) <= RUN for run in cache.runs)


def test_more_is_tried_where_tries_go_well_and_less_where_not() -> None:
    cache, ahead = ahead_of([*range(40), 0, 1])
    for token in range(2, 36):
        ahead.step([token])
    assert [len(run) for run in cache.runs] == [4, 7, 8, 8, 8]
    for token in (3, 2, 1, 0, 9, 8):
        ahead.step([token])
    assert [len(run) for run in cache.runs[-3:]] == [2, 2, 2]


def test_what_alone_can_come_is_tried_first() -> None:
    cache, ahead = ahead_of([1, 2, 3, 1], forced=lambda: [9, 9])
    ahead.step([2])
    assert cache.runs == [[2, 9, 9]]


def test_no_run_leaves_its_room() -> None:
    cache, ahead = ahead_of([1, 2, 3, 1])
    ahead._room = 6
    ahead.step([2])
    assert cache.runs == [[2, 3]]
