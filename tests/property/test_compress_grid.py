"""Weights as integers: no two neighbours saturate, and the least error is the least."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from toolkit.compress.grid import PAIR, Scales, grid, integers

MATRICES = arrays.arrays(
    np.float32,
    st.tuples(st.just(1), st.integers(1, 4), st.integers(1, 9), st.integers(1, 3)),
    elements=st.floats(-100, 100, width=32),
)
SCALES: st.SearchStrategy[Scales] = st.sampled_from(["minmax", "seven-bits", "mse", "pairs"])


@given(MATRICES, SCALES, st.booleans())
@settings(deadline=None)
def test_they_are_whole_and_in_range_and_near(matrix: NDArray[np.float32], scales: Scales, per_channel: bool) -> None:
    on = integers(matrix, scales=scales, per_channel=per_channel)
    assert on.numbers.shape == matrix.shape
    assert on.scale.shape == ((1, matrix.shape[1], 1, 1) if per_channel else (1, 1, 1, 1))
    assert (on.numbers == np.rint(on.numbers)).all()
    assert np.abs(on.numbers).max() <= 127
    assert (on.scale > 0).all()
    peak = np.abs(matrix).max(axis=(2, 3) if per_channel else None, keepdims=True)
    assert (np.abs(on.values() - matrix) <= peak / 2 + 1e-6).all()


@given(MATRICES, st.booleans())
@settings(deadline=None)
def test_no_two_neighbours_saturate(matrix: NDArray[np.float32], per_channel: bool) -> None:
    on = integers(matrix, scales="pairs", per_channel=per_channel)
    # the worst that unsigned activations can do to a pair: 255 where the weights have one sign, 0 elsewhere
    rows = on.numbers.transpose(0, 1, 3, 2).reshape(matrix.shape[1], -1)
    rows = np.pad(rows, ((0, 0), (0, rows.shape[1] % 2)))
    for sign in (1, -1):
        pairs = np.maximum(sign * rows, 0).reshape(len(rows), -1, 2).sum(axis=2)
        assert pairs.max() <= PAIR
    assert 255 * PAIR < 2**15


@given(MATRICES)
@settings(deadline=None)
def test_the_least_error_is_at_most_that_of_the_largest_weight(matrix: NDArray[np.float32]) -> None:
    plain = grid(matrix, per_channel=True, seven_bits=False)
    minmax = np.square(plain.nearest(matrix) * plain.scale - matrix).sum()
    least = np.square(integers(matrix, scales="mse", per_channel=True).values() - matrix).sum()
    # among the shares that are tried 1 itself may be missed by a little
    assert least <= minmax * 1.01 + 1e-9


def test_weights_that_do_not_crowd_keep_all_eight_bits() -> None:
    random = np.random.default_rng(0)
    matrix = random.normal(size=(1, 64, 256, 1)).astype(np.float32)

    def noise(scales: Scales) -> float:
        return float(np.square(integers(matrix, scales=scales, per_channel=True).values() - matrix).sum())

    assert noise("pairs") < noise("seven-bits") / 2
    assert noise("pairs") < noise("minmax") * 2


def test_a_convolution_of_one_input_a_group_needs_no_pairs() -> None:
    matrix = np.ones((4, 1, 1, 9), np.float32)
    assert (integers(matrix, scales="pairs", per_channel=True).numbers > PAIR / 2).all()
    assert (integers(matrix.reshape(1, 4, 1, 9), scales="pairs", per_channel=True).numbers <= PAIR / 2).all()
