"""For any weights and inputs: what is kept makes up for what goes as well as least squares can, and counts add up."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from toolkit.compress.statistics import Moments, Sums
from toolkit.compress.surgery import damp, order, refitted
from toolkit.compress.thinning import allotted

NUMBERS = st.floats(-100, 100, width=32).filter(lambda number: number == 0 or abs(number) > 1e-2)
WEIGHTS = arrays(np.float32, (3, 6), elements=NUMBERS)
ROWS = arrays(np.float32, (12, 6), elements=NUMBERS)


def seen(rows: NDArray[np.float32]) -> Moments:
    sums = Sums(rows.shape[1])
    for part in (rows[:5], rows[5:]):
        sums.add(part)
    return sums.moments()


def cost(weights: NDArray[np.float32], found: NDArray[np.float64], shift: NDArray[np.float64], to: Moments) -> float:
    """The square error over the rows, and what holds the weights where they were."""
    change = found - weights
    moved = change @ to.second @ change.T + 2 * np.outer(change @ to.mean, shift) + np.outer(shift, shift)
    return float(np.trace(moved) + damp(to) * np.square(change).sum())


@settings(deadline=None)  # the first to run loads torch
@given(ROWS)
def test_sums_over_batches_are_those_of_all_rows(rows: NDArray[np.float32]) -> None:
    found, exact = seen(rows), rows.astype(np.float64)
    assert found.rows == 12
    np.testing.assert_allclose(found.mean, exact.mean(axis=0), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(found.second, exact.T @ exact / 12, rtol=1e-5, atol=1e-3)


@given(WEIGHTS, ROWS)
def test_with_all_channels_kept_nothing_changes(weights: NDArray[np.float32], rows: NDArray[np.float32]) -> None:
    found, shift = refitted(weights, seen(rows), np.arange(6))
    np.testing.assert_array_equal(found, weights)
    assert not shift.any()


@settings(deadline=None)
@given(WEIGHTS, ROWS, st.sets(st.integers(0, 5), min_size=1, max_size=5), st.integers(0, 2**32 - 1))
def test_no_other_weights_fit_better(
    weights: NDArray[np.float32], rows: NDArray[np.float32], kept: set[int], seed: int
) -> None:
    to, stay = seen(rows), np.array(sorted(kept))
    found, shift = refitted(weights, to, stay)
    whole = np.zeros(weights.shape)
    whole[:, stay] = found
    least = cost(weights, whole, shift.astype(np.float64), to)
    random = np.random.default_rng(seed)
    for size in (1e-2, 1.0, 100.0):
        other = whole.copy()
        other[:, stay] += size * random.normal(size=found.shape)
        another = cost(weights, other, shift + size * random.normal(size=3), to)
        assert least <= another * (1 + 1e-4) + 1e-4
    bare = np.where(np.isin(np.arange(6), stay), weights, 0).astype(np.float64)
    assert least <= cost(weights, bare, np.zeros(3), to) * (1 + 1e-4) + 1e-4


@settings(deadline=None)
@given(WEIGHTS, ROWS, st.sampled_from([1, 2, 3]), st.booleans())
def test_an_order_has_every_group_once_and_its_losses_are_true(
    weights: NDArray[np.float32], rows: NDArray[np.float32], size: int, repair: bool
) -> None:
    to = seen(rows)
    found = order(weights, to, size, repair=repair)
    assert sorted(found.groups) == list(range(6 // size))
    assert len(found.lost) == 6 // size
    assert (np.diff(found.lost) >= -1e-6 * np.abs(found.lost).max()).all()
    if repair:
        for count in range(1, len(found.groups)):
            stay = (found.kept(count)[:, None] * size + np.arange(size)).reshape(-1)
            matrix, shift = refitted(weights, to, stay)
            whole = np.zeros(weights.shape)
            whole[:, stay] = matrix
            exact = cost(weights, whole, shift.astype(np.float64), to)
            scale = float(np.square(weights).sum() * to.second.diagonal().sum())
            assert abs(exact - found.lost[len(found.groups) - count]) <= 1e-3 * exact + 1e-5 * scale


LOSSES = st.lists(
    st.lists(st.floats(0, 1e6), min_size=1, max_size=40).map(lambda steps: np.cumsum([0.0, *steps])),
    min_size=1,
    max_size=5,
)


@given(LOSSES, st.floats(0.01, 1), st.integers(1, 16))
def test_what_is_allotted_keeps_to_the_share_where_it_can(
    losses: list[NDArray[np.float64]], keep: float, multiple: int
) -> None:
    counts = allotted(losses, keep, multiple)
    sizes = [len(lost) for lost in losses]
    assert all(1 <= count <= size for count, size in zip(counts, sizes, strict=True))
    assert all(count == size or count % multiple == 0 for count, size in zip(counts, sizes, strict=True))
    least = sum(min(size, multiple) for size in sizes)
    assert sum(counts) <= max(keep * sum(sizes), least)
    assert sum(counts) > keep * sum(sizes) - multiple or keep == 1


@given(LOSSES, st.floats(0.01, 1), st.integers(1, 16), st.lists(st.integers(1, 9), min_size=5, max_size=5))
def test_groups_of_other_sizes_are_counted_by_their_size(
    losses: list[NDArray[np.float64]], keep: float, multiple: int, sizes: list[int]
) -> None:
    sizes = sizes[: len(losses)]
    counts = allotted(losses, keep, multiple, sizes)
    wholes = [len(lost) for lost in losses]
    assert all(count == whole or count % multiple == 0 for count, whole in zip(counts, wholes, strict=True))
    least = sum(size * min(whole, multiple) for size, whole in zip(sizes, wholes, strict=True))
    total = sum(size * whole for size, whole in zip(sizes, wholes, strict=True))
    assert np.dot(counts, sizes) <= max(keep * total, least)
