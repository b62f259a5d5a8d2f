"""For any weights and inputs: products stay the same, ranges meet, and no rounding is worse than the nearest."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from toolkit.compress.grid import grid
from toolkit.compress.hessian import error
from toolkit.compress.statistics import Moments
from toolkit.compress.steps.adaround import round_adaptively
from toolkit.compress.steps.bias_correction import correction
from toolkit.compress.steps.equalise import balance
from toolkit.compress.steps.smooth_quant import factors

NUMBERS = st.floats(-1000, 1000, width=32).filter(lambda number: number == 0 or abs(number) > 1e-3)


def matrices(*shape: int) -> st.SearchStrategy[NDArray[np.float32]]:
    return arrays(np.float32, shape, elements=NUMBERS)


def same(left: NDArray[Any], right: NDArray[Any], size: NDArray[Any]) -> bool:
    """Equal but for what single precision loses in sums of numbers of a size."""
    return bool((np.abs(left - right) <= 1e-5 * size + 1e-6).all())


@given(matrices(5, 4), matrices(3, 4), st.floats(0, 1))
def test_a_factor_goes_from_the_inputs_into_the_weights(
    x: NDArray[np.float32], weights: NDArray[np.float32], alpha: float
) -> None:
    factor = factors(np.abs(x).max(axis=0), np.abs(weights).max(axis=0), alpha)
    assert (factor > 0).all()
    assert same((x / factor) @ (weights * factor).T, x @ weights.T, np.abs(x) @ np.abs(weights).T)


@given(matrices(4), matrices(4))
def test_balanced_ranges_meet_at_the_root_of_their_product(
    first: NDArray[np.float32], second: NDArray[np.float32]
) -> None:
    outgoing, incoming = np.abs(first), np.abs(second)
    factor = balance(outgoing, incoming)
    alive = (outgoing > 0) & (incoming > 0)
    np.testing.assert_allclose((outgoing / factor)[alive], (incoming * factor)[alive], rtol=1e-5)
    assert (factor[~alive] == 1).all()


@given(matrices(2, 3, 4, 1), matrices(6, 8))
def test_the_mean_that_rounding_moves_is_moved_back(matrix: NDArray[np.float32], x: NDArray[np.float32]) -> None:
    found = grid(matrix, per_channel=True, seven_bits=False)
    rounded = found.scale * found.nearest(matrix)
    mean = x.mean(axis=0, dtype=np.float64)
    inputs = mean.reshape(2, 4)
    before, after = (np.einsum("goi,gi->go", one[..., 0].astype(np.float64), inputs) for one in (matrix, rounded))
    size = np.einsum("goi,gi->go", np.abs(matrix[..., 0]), np.abs(inputs)).reshape(-1)
    assert same((after.reshape(-1) + correction(matrix, rounded, mean)), before.reshape(-1), size)


@settings(max_examples=30, deadline=None)
@given(matrices(3, 6), matrices(8, 6), st.booleans(), st.booleans())
def test_adaptive_rounding_is_on_the_grid_next_to_the_weights_and_no_worse_than_the_nearest(
    weights: NDArray[np.float32], x: NDArray[np.float32], per_channel: bool, seven_bits: bool
) -> None:
    found = grid(weights[None, :, :, None], per_channel=per_channel, seven_bits=seven_bits)
    scale = found.scale[0, :, :, 0]
    exact = x.astype(np.float64)
    seen = Moments(len(x), exact.mean(axis=0), exact.T @ exact / len(x))
    rounded = round_adaptively(weights, scale, found.levels, seen, 20)
    assert (np.abs(rounded - weights) <= scale * 1.001).all()
    assert (error(weights, rounded, seen) <= error(weights, scale * np.rint(weights / scale), seen) + 1e-9).all()
    # the grid of what was rounded is the grid it was rounded to
    again = grid(rounded[None, :, :, None], per_channel=per_channel, seven_bits=seven_bits)
    np.testing.assert_allclose(again.scale[0, :, :, 0], scale, rtol=1e-5)
    np.testing.assert_array_equal(again.nearest(rounded[None, :, :, None])[0, :, :, 0], np.rint(rounded / scale))
