"""Channels whose weights are next to nothing say their bias, whatever comes in."""

from __future__ import annotations

import numpy as np
import pytest

from tests.unit.toolkit.compress.steps.conftest import Taken
from tests.unit.toolkit.compress.steps.graphs import given_by, model_of
from toolkit.compress.grid import Scales
from toolkit.compress.quiet import quiet
from toolkit.compress.steps.static_int8 import StaticInt8

with quiet():
    import onnxruntime
    from onnx import helper


@pytest.mark.parametrize("scales", ["seven-bits", "mse", "pairs"])
@pytest.mark.parametrize("per_channel", [True, False])
def test_a_bias_that_outgrows_32_bits_is_kept(taken: Taken, scales: Scales, per_channel: bool) -> None:
    random = np.random.default_rng(3)
    weights = random.normal(0, 1, (4, 8, 1, 1)).astype(np.float32)
    weights[1] = 1e-8
    if not per_channel:
        weights *= np.float32(1e-8)
    bias = np.array([0.1, 0.7, 5, -3], np.float32)
    nodes = [helper.make_node("Conv", ["x", "w", "b"], ["y"], name="conv")]
    given = model_of(nodes, {"w": weights, "b": bias}, ("batch", 8, 4, 4))
    feeds = [{"x": random.normal(0, 1, (1, 8, 4, 4)).astype(np.float32)} for _ in range(4)]
    pressed, _ = taken(StaticInt8(scales=scales, per_channel=per_channel), given, feeds)
    session = onnxruntime.InferenceSession(pressed, providers=["CPUExecutionProvider"])
    for one in feeds:
        expected = given_by(given, **one)
        found = np.asarray(session.run(None, one)[0])
        assert np.abs(found - expected).max() < 0.02 * np.abs(expected).max()
