"""The mean error that rounded weights will make, taken off beforehand."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from toolkit.compress.calibration import Calibration
from toolkit.compress.grid import Scales
from toolkit.compress.quiet import quiet
from toolkit.compress.step import FLOAT, FUSED, Form, StepReport
from toolkit.extras import needs

__all__ = ["BiasCorrection", "correction"]


class BiasCorrection(
    Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="bias-correction"
):
    """Shift the bias of each layer by the mean of what rounding its weights to int8 will change in its output, for
    the mean of its input over the calibration data. The weights stay as they are.

    `per_channel` and `scales` are those of the int8 step that follows: the shift is right for its grid only.
    A layer without a bias gets one. What rounding changes in the input of later layers is not followed up.

    Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction", 2019, section 4.2, with
    means that are measured.
    """

    takes: ClassVar[frozenset[Form]] = frozenset({FLOAT, FUSED})
    gives: ClassVar[Form | None] = None
    calibrates: ClassVar[bool] = True

    per_channel: bool = True
    scales: Scales = "minmax"

    def apply(self, model: bytes, data: Calibration) -> tuple[bytes, StepReport]:
        """See Step."""
        with quiet(), needs("compress"):
            from toolkit.compress.grid import integers
            from toolkit.compress.layers import Graph
        graph = Graph(model, "bias-correction")
        # one for each tensor that comes in, whose channels lie where the operator has them
        inputs = {(layer.input, layer.axis): layer for layer in graph.layers}
        sums: dict[tuple[str, int], NDArray[np.float64]] = {}
        counts = dict.fromkeys(inputs, 0)
        for values in graph.watch(tuple(dict.fromkeys(name for name, _ in inputs)), data):
            for key, layer in inputs.items():
                rows = layer.rows(values[key[0]])
                sums[key] = sums.get(key, np.float64(0)) + rows.sum(axis=0, dtype=np.float64)
                counts[key] += len(rows)
        for layer in graph.layers:
            key = layer.input, layer.axis
            mean = sums[key] / counts[key]
            matrix = graph.matrix(layer)
            rounded = integers(matrix, scales=self.scales, per_channel=self.per_channel).values()
            graph.shift(layer, correction(matrix, rounded, mean))
        return graph.finished()


def correction(
    matrix: NDArray[np.float32], rounded: NDArray[np.float32], mean: NDArray[np.float64]
) -> NDArray[np.float32]:
    """What to add to the bias (outputs,) when weights (groups, outputs, inputs, positions) become others, for the
    mean (channels,) of the input. At the rim of a convolution, where padding comes in, it is too large."""
    change = (matrix.astype(np.float64) - rounded).sum(axis=3)
    shift: NDArray[np.float64] = np.einsum("goi,gi->go", change, mean.reshape(len(matrix), -1))
    return shift.reshape(-1).astype(np.float32)
