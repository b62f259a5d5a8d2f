"""For any inputs and weights: errors are those over the rows, and no other weights make up better for what is fixed."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from toolkit.compress.hessian import error, importance, inverse_root
from toolkit.compress.statistics import Moments

NUMBERS = st.floats(-100, 100, width=32).filter(lambda number: number == 0 or abs(number) > 1e-2)
WEIGHTS = arrays(np.float32, (3, 6), elements=NUMBERS)
ROWS = arrays(np.float32, (12, 6), elements=NUMBERS)


def moments(rows: NDArray[np.float32]) -> Moments:
    exact = rows.astype(np.float64)
    return Moments(len(rows), exact.mean(axis=0), exact.T @ exact / len(rows))


@settings(deadline=None)
@given(WEIGHTS, WEIGHTS, ROWS)
def test_the_error_and_the_importance_are_those_over_the_rows(
    weights: NDArray[np.float32], others: NDArray[np.float32], rows: NDArray[np.float32]
) -> None:
    exact = rows.astype(np.float64)
    expected = np.square(exact @ (others.astype(np.float64) - weights).T).mean(axis=0)
    np.testing.assert_allclose(error(weights, others, moments(rows)), expected, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(importance(moments(rows)), np.sqrt(np.square(exact).mean(axis=0)), rtol=1e-6)


@settings(deadline=None)
@given(ROWS, st.permutations(range(6)), st.integers(0, 5), st.floats(-10, 10), st.integers(0, 2**32 - 1))
def test_what_comes_after_makes_up_for_a_change_as_well_as_it_can(
    rows: NDArray[np.float32], order: list[int], at: int, moved: float, seed: int
) -> None:
    seen, damping = moments(rows), 0.01
    root = inverse_root(seen, np.array(order), damping).numpy()
    np.testing.assert_array_equal(root, np.triu(root))
    damped = seen.second + max(damping * seen.second.diagonal().mean(), 1e-12) * np.eye(6)

    def cost(change: NDArray[np.float64]) -> float:
        whole = np.zeros(6)
        whole[order] = change
        return float(whole @ damped @ whole)

    change = np.zeros(6)
    change[at:] = moved * root[at, at:] / root[at, at]
    least = cost(change)
    assert abs(least - (moved / root[at, at]) ** 2) <= 1e-4 * least + 1e-12
    random = np.random.default_rng(seed)
    for size in (1e-2, 1.0, 100.0):
        other = change.copy()
        other[at + 1 :] += size * random.normal(size=5 - at)
        assert least <= cost(other) * (1 + 1e-6) + 1e-12
