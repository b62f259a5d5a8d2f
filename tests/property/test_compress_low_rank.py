"""For any weights and inputs: no product of that rank is nearer, and what is said to be lost is lost."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from toolkit.compress.low_rank import factors
from toolkit.compress.statistics import Moments, Sums
from toolkit.compress.surgery import damp
from toolkit.compress.thinning import cheapest

NUMBERS = st.floats(-100, 100, width=32).filter(lambda number: number == 0 or abs(number) > 1e-2)


def seen(rows: NDArray[np.float32]) -> Moments:
    sums = Sums(rows.shape[1])
    sums.add(rows)
    return sums.moments()


@settings(deadline=None)
@given(
    arrays(np.float32, (4, 6), elements=NUMBERS),
    arrays(np.float32, (12, 6), elements=NUMBERS),
    st.integers(1, 4),
    st.booleans(),
    st.integers(0, 2**32 - 1),
)
def test_no_other_factors_lose_less(
    weights: NDArray[np.float32], rows: NDArray[np.float32], rank: int, aware: bool, seed: int
) -> None:
    to = seen(rows)
    covariance = to.second - np.outer(to.mean, to.mean) + damp(to) * np.eye(6) if aware else np.eye(6)

    def cost(matrix: NDArray[np.float64]) -> float:
        return float(np.trace((matrix - weights) @ covariance @ (matrix - weights).T))

    made = factors(weights, to if aware else None)
    left, right = (factor.astype(np.float64) for factor in made.first(rank))
    assert (left.shape, right.shape) == ((4, rank), (rank, 6))
    least, scale = cost(left @ right), cost(np.zeros((4, 6)))
    assert abs(least - made.lost[rank]) <= 1e-4 * scale + 1e-6
    assert abs(made.lost[0] - scale) <= 1e-6 * scale + 1e-6
    assert (np.diff(made.lost) <= 0).all()
    random = np.random.default_rng(seed)
    for size in (1e-3, 0.1, 10.0):
        other = (left + size * random.normal(size=left.shape)) @ (right + size * random.normal(size=right.shape))
        assert least <= cost(other) + 1e-4 * scale + 1e-6


COSTS = st.lists(
    st.lists(st.tuples(st.integers(1, 50), st.floats(0, 1e6)), min_size=1, max_size=10), min_size=1, max_size=5
)


@given(COSTS, st.floats(0, 1000))
def test_the_cheapest_reach_the_goal_or_the_end(steps: list[list[tuple[int, float]]], goal: float) -> None:
    sizes = [np.cumsum([size for size, _ in own])[::-1] for own in steps]
    losses = [np.cumsum([loss for _, loss in own]) for own in steps]
    chosen = cheapest(sizes, losses, goal)
    total = sum(int(size[at]) for size, at in zip(sizes, chosen, strict=True))
    assert total <= goal or all(at == len(own) - 1 for at, own in zip(chosen, sizes, strict=True))
