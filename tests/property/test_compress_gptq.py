"""For any weights and inputs: rounding that is made up for is on the grid and errs less than the nearest numbers do."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from tests.unit.toolkit.compress.steps.test_step_bits import back
from toolkit.compress.blocks import Bits, Scales, blocked
from toolkit.compress.hessian import error
from toolkit.compress.statistics import Moments
from toolkit.compress.steps.gptq import Gptq, rounded

Order = Literal["columns", "activation"]


def drawn(seed: int, channels: int, rank: int) -> tuple[NDArray[np.float32], Moments]:
    """Weights of 24 outputs, and inputs which come from a few numbers and differ in power."""
    random = np.random.default_rng(seed)
    rows = random.normal(size=(400, rank)) @ random.normal(size=(rank, channels))
    rows = (rows + 0.1 * random.normal(size=rows.shape)) * random.uniform(0.1, 4, size=channels)
    weights = random.normal(size=(24, channels)).astype(np.float32)
    return weights, Moments(len(rows), rows.mean(axis=0), rows.T @ rows / len(rows))


@settings(max_examples=25, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(40, 150),
    st.sampled_from([2, 4, 8]),
    st.sampled_from(["minmax", "mse", "hqq", "offset"]),
    st.sampled_from(["columns", "activation"]),
)
def test_the_outputs_err_less_than_with_weight_bits_of_the_same_size(
    seed: int, channels: int, bits: Bits, scales: Scales, order: Order
) -> None:
    weights, seen = drawn(seed, channels, 8)
    found = rounded(weights, seen, Gptq(bits=bits, scales=scales, order=order))
    nearest = blocked(weights, bits=bits, size=32, scales=scales)
    assert found.packed.shape == nearest.packed.shape
    assert found.scale.shape == nearest.scale.shape
    assert (found.zero is None) == (nearest.zero is None)
    ours = error(weights, back(found, bits, channels), seen).sum()
    assert ours < 0.7 * error(weights, back(nearest, bits, channels), seen).sum()


@settings(max_examples=25, deadline=None)
@given(
    arrays(np.float32, (3, 20), elements=st.floats(-100, 100, width=32)),
    arrays(np.float32, (12, 20), elements=st.floats(-100, 100, width=32)),
    st.sampled_from(["columns", "activation"]),
)
def test_whatever_the_weights_and_inputs_are_numbers_come_out(
    weights: NDArray[np.float32], rows: NDArray[np.float32], order: Order
) -> None:
    exact = rows.astype(np.float64)
    seen = Moments(len(rows), exact.mean(axis=0), exact.T @ exact / len(rows))
    found = rounded(weights, seen, Gptq(block=16, order=order))
    assert np.isfinite(back(found, 4, 20)).all()


@pytest.mark.parametrize("order", ["columns", "activation"])
def test_weights_that_stand_on_the_grid_stay(order: Order) -> None:
    weights, seen = drawn(0, 64, 8)
    on = blocked(weights, bits=4, size=32, scales="minmax")
    found = rounded(back(on, 4, 64), seen, Gptq(scales="minmax", order=order))
    np.testing.assert_array_equal(found.packed, on.packed)
    np.testing.assert_allclose(found.scale, on.scale, rtol=1e-6)
