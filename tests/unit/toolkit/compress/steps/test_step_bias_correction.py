"""Bias correction: the mean of what int8 gives is the mean of what the floats gave."""

from __future__ import annotations

import numpy as np
import pytest

from tests.unit.toolkit.compress.steps.conftest import Taken
from tests.unit.toolkit.compress.steps.graphs import given_by, model_of, numbers
from toolkit.compress.quiet import quiet
from toolkit.compress.steps.bias_correction import BiasCorrection
from toolkit.compress.steps.dynamic_int8 import DynamicInt8

with quiet():
    import onnx
    from onnx import helper


@pytest.mark.parametrize("step", [BiasCorrection(), BiasCorrection(per_channel=False, scales="seven-bits")])
@pytest.mark.parametrize("biased", [True, False])
def test_the_mean_of_each_output_comes_back(taken: Taken, step: BiasCorrection, biased: bool) -> None:
    nodes = [helper.make_node("MatMul", ["x", "w"], ["h" if biased else "y"])]
    constants = {"w": numbers(64, 8)}
    if biased:
        nodes.append(helper.make_node("Add", ["b", "h"], ["y"]))
        constants["b"] = numbers(8)
    model, x = model_of(nodes, constants, ("n", 64)), np.abs(numbers(500, 64)) + 1
    corrected, report = taken(step, model, [{"x": x[:200]}, {"x": x[200:]}])
    assert corrected == taken(step, model, [{"x": x[:200]}, {"x": x[200:]}])[0]
    assert (report.kind, report.left) == ("bias-correction", ())
    assert len(onnx.load_from_string(corrected).graph.node) == 2

    def shift(given: bytes) -> float:
        """The largest mean error of an output."""
        pressed, _ = taken(DynamicInt8(per_channel=step.per_channel, seven_bits=step.scales == "seven-bits"), given)
        return float(np.abs((given_by(pressed, x=x) - given_by(model, x=x)).mean(axis=0)).max())

    assert shift(corrected) < 0.2 * shift(model)


def test_a_convolution_is_corrected_too(taken: Taken) -> None:
    model = model_of([helper.make_node("Conv", ["x", "w"], ["y"], group=2)], {"w": numbers(4, 3, 2, 2)}, (1, 6, 5, 5))
    x = np.abs(numbers(1, 6, 5, 5))
    corrected, _ = taken(BiasCorrection(), model, [{"x": x}])
    moved = given_by(corrected, x=x) - given_by(model, x=x)
    # one number for each output, the same everywhere
    assert np.ptp(moved, axis=(0, 2, 3)).max() < 1e-5
    assert np.abs(moved).max() > 1e-4
