"""What is tried ahead changes how long an answer takes, and never what it says: to the last bit, for each kernel."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.decoders import TOKENS, tiny_gguf
from toolkit.compress.intake import taken_in
from toolkit.compress.steps.table_bits import TableBits
from toolkit.compress.steps.weight_bits import WeightBits
from toolkit.runtime.cache import Alone, Cache
from toolkit.runtime.lookup import RUN, Ahead, alike
from toolkit.runtime.sampling import Chosen, Sampler, Sampling
from toolkit.runtime.session import Session
from toolkit.runtime.slots import Slots

ROOM = 96
PROMPT = [5, 6, 7, 8, 9, 5, 6, 7]
Caches = Callable[[], Cache]


@pytest.fixture(scope="module")
def graphs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """A decoder in floats, in eight bits and in four, with its table in eight: the kernels that decoders are run by."""
    file = tmp_path_factory.mktemp("lookup") / "tiny.gguf"
    file.write_bytes(tiny_gguf())
    floats = taken_in(file).load().export()
    unused: Any = ()  # neither step looks at data

    def pressed(bits: Any, compute: Any) -> bytes:
        rounded, _ = WeightBits(bits=bits, compute=compute).apply(floats, unused)
        return TableBits(bits=8).apply(rounded, unused)[0]

    return {
        "floats": floats,
        "8 bits": pressed(8, "int8"),
        "4 bits": pressed(4, "int8"),
        "4 bits, floats": pressed(4, "float32"),
    }


@pytest.fixture(scope="module", params=["floats", "8 bits", "4 bits", "4 bits, floats"])
def caches(request: pytest.FixtureRequest, graphs: dict[str, bytes]) -> Caches:
    session = Session(graphs[request.param], "", threads=2)
    return lambda: Cache(Alone(Slots(session._session, session.inputs, len(TOKENS), 1, ROOM)))


def answer(caches: Caches, ids: Sequence[int], sampling: Sampling, tries: int) -> tuple[list[Chosen], Ahead]:
    cache = caches()
    logits = cache.step(ids)[0]
    ahead = Ahead(cache, ids, len(ids) + sampling.max_tokens, tries)
    sampler = Sampler(sampling, ids)
    said: list[Chosen] = []
    for _ in range(sampling.max_tokens):
        said.append(sampler.choose(logits))
        logits = ahead.step([said[-1].id])[0] if len(said) < sampling.max_tokens else logits
    return said, ahead


def test_a_token_has_the_same_logits_wherever_it_stands_in_a_run(caches: Caches) -> None:
    cache = caches()
    cache.step(PROMPT)
    assert alike(cache, PROMPT, ROOM)
    assert cache.tokens == len(PROMPT)
    assert alike(cache, PROMPT, len(PROMPT) + RUN - 1) is None
    # and is what it would have been
    untouched = caches()
    untouched.step(PROMPT)
    np.testing.assert_array_equal(cache.step([3, 4], keep=2), untouched.step([3, 4], keep=2))


def test_kernels_that_differ_are_seen(caches: Caches, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = caches()
    cache.step(PROMPT)
    step = Cache.step

    def otherwise(self: Cache, ids: Sequence[int], *, keep: int = 1) -> Any:
        logits = step(self, ids, keep=keep)
        return logits if len(ids) != 5 else np.nextafter(logits, np.float32(np.inf))

    monkeypatch.setattr(Cache, "step", otherwise)
    assert alike(cache, PROMPT, ROOM) is False


def test_what_repeats_takes_fewer_runs(caches: Caches) -> None:
    """A penalty below one draws what was there before."""
    sampling = Sampling.checked(max_tokens=60, repetition_penalty=0.2, seed=1)
    without, plain = answer(caches, PROMPT, sampling, 0)
    tried, ahead = answer(caches, PROMPT, sampling, RUN - 1)
    assert tried == without
    assert plain.runs == 59
    assert ahead.runs < 50


@settings(max_examples=25, deadline=None)
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
    sampling = Sampling.checked(logprobs=2, **how)
    without, _ = answer(caches, ids, sampling, 0)
    assert answer(caches, ids, sampling, tries)[0] == without


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
