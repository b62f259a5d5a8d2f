"""For any weights and inputs: patterns hold, what matters least goes, and the more a method knows the less is lost."""

from __future__ import annotations

from typing import Literal

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from tests.property.test_compress_gptq import drawn
from toolkit.compress.hessian import error
from toolkit.compress.sparsity import Pattern, gone
from toolkit.compress.steps.sparsify import Sparsify, sparse

SCORES = arrays(np.float64, st.tuples(st.integers(1, 9), st.integers(1, 23)), elements=st.floats(0, 100))
PATTERNS: st.SearchStrategy[Pattern] = st.sampled_from(["unstructured", "2:4", "block"])


@given(SCORES, st.floats(0.01, 0.99))
def test_as_many_go_as_were_asked_for_and_none_is_worth_more_than_one_that_stays(
    scores: NDArray[np.float64], share: float
) -> None:
    out = gone(scores, "unstructured", share, 4)
    assert out.sum() == int(share * scores.size)
    assert scores[out].max(initial=0) <= scores[~out].min(initial=100)


@given(SCORES)
def test_of_each_four_two_stay(scores: NDArray[np.float64]) -> None:
    out = gone(scores, "2:4", 0.5, 4)
    for start in range(0, out.shape[1], 4):
        four = out[:, start : start + 4]
        assert ((~four).sum(axis=1) == min(2, four.shape[1])).all()
        for row, gone_row in zip(scores[:, start : start + 4], four, strict=True):
            assert row[gone_row].max(initial=0) <= row[~gone_row].min()


@given(SCORES, st.floats(0.01, 0.99), st.sampled_from([4, 8]))
def test_squares_go_as_a_whole(scores: NDArray[np.float64], share: float, block: int) -> None:
    out = gone(scores, "block", share, block)
    squares = [
        out[row : row + block, column : column + block]
        for row in range(0, len(out), block)
        for column in range(0, out.shape[1], block)
    ]
    assert all(square.all() or not square.any() for square in squares)
    assert sum(bool(square.all()) for square in squares) == int(share * len(squares))


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(64, 140), PATTERNS)
def test_knowing_the_inputs_helps_and_making_up_for_what_goes_helps_more(
    seed: int, channels: int, pattern: Pattern
) -> None:
    weights, seen = drawn(seed, channels, 12)
    lost = {}
    methods: list[Literal["magnitude", "wanda", "sparsegpt"]] = ["magnitude", "wanda", "sparsegpt"]
    for method in methods:
        found = sparse(weights, seen, Sparsify(method=method, pattern=pattern))
        assert abs(np.count_nonzero(found == 0) / found.size - 0.5) < 0.06
        if method != "sparsegpt":
            assert ((found == weights) | (found == 0)).all()
        lost[method] = error(weights, found, seen).sum()
    assert lost["sparsegpt"] < lost["wanda"] < lost["magnitude"]
