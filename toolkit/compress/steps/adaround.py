"""Each weight rounded up or down by what that does to the output of its layer, not to the nearest number."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar

import numpy as np
from msgspec import Meta, Struct
from numpy.typing import NDArray

from toolkit.compress.calibration import Calibration
from toolkit.compress.hessian import error
from toolkit.compress.quiet import quiet
from toolkit.compress.step import FLOAT, FUSED, Form, StepReport
from toolkit.extras import needs

if TYPE_CHECKING:
    from toolkit.compress.statistics import Moments

__all__ = ["AdaRound", "round_adaptively"]

Numbers = NDArray[np.float32]

REGULARISATION = 0.05  # for errors in units of the grid
RATE = 0.02
WARM_UP = 0.2  # of the rounds, without regularisation
SHARPNESS = (20.0, 2.0)  # of the regularisation, from the end of the warm-up to the last round


class AdaRound(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="adaround"):
    """Put the weights of the linear layers on the int8 grid such that the outputs change least for the calibration
    data. They stay floats, and the int8 step that follows finds the same grid again: the largest weight of each
    channel, which decides it, is not moved.

    `per_channel` and `seven_bits` are those of that step. Convolutions stay as they are. The error of a layer is that
    of its own weights, with the second moments of its float input: memory and time do not grow with the data. A
    channel that comes out no better than rounded to the nearest is rounded to the nearest.

    Nagel et al., "Up or Down? Adaptive Rounding for Post-Training Quantization", 2020.
    """

    takes: ClassVar[frozenset[Form]] = frozenset({FLOAT, FUSED})
    gives: ClassVar[Form | None] = None
    calibrates: ClassVar[bool] = True

    per_channel: bool = True
    seven_bits: bool = False
    rounds: Annotated[int, Meta(ge=10, le=20_000)] = 300

    def apply(self, model: bytes, data: Calibration) -> tuple[bytes, StepReport]:
        """See Step."""
        with quiet(), needs("compress"):
            import torch  # noqa: F401 - so that one that is missing is named here

            from toolkit.compress.grid import grid
            from toolkit.compress.layers import Graph
            from toolkit.compress.one_thread import one_thread
            from toolkit.compress.statistics import moments
        graph = Graph(model, "adaround")
        layers = [layer for layer in graph.layers if layer.linear]
        if not layers:
            raise graph.failed("the graph has no linear layer whose weights are constant floats")
        graph.left.extend(f"{layer.name}: a convolution" for layer in graph.layers if not layer.linear)
        with one_thread():
            for layer, seen in moments(graph, layers, data):
                matrix = graph.matrix(layer)
                found = grid(matrix, per_channel=self.per_channel, seven_bits=self.seven_bits)
                weights, scale = matrix[0, :, :, 0], found.scale[0, :, :, 0]
                rounded = round_adaptively(weights, scale, found.levels, seen, self.rounds)
                graph.write(layer, rounded[None, :, :, None])
        return graph.finished()


def round_adaptively(weights: Numbers, scale: Numbers, levels: int, seen: Moments, rounds: int) -> Numbers:
    """Weights (outputs, inputs) on the grid of `scale`, each next to where it was, with the least error found."""
    import torch

    down = np.floor(weights / scale)
    part = weights / scale - down
    nearest = np.clip(np.rint(weights / scale), -levels, levels)
    # those that decide the grid, and those that are on it
    fixed = torch.from_numpy((np.abs(nearest) == levels) | (part == 0))
    power = max(float(seen.second.diagonal().mean()), 1e-30)
    gram = torch.from_numpy((seen.second / power).astype(np.float32))
    start, goal = torch.from_numpy(part), torch.from_numpy((nearest - down).astype(np.float32))
    # soft rounding: a sigmoid stretched from (0, 1) to (-0.1, 1.1) and cut off (equation 23)
    slope = torch.log((start + 0.1) / (1.1 - start))
    first, second = torch.zeros_like(slope), torch.zeros_like(slope)
    for number in range(rounds):
        sigmoid = torch.sigmoid(slope)
        soft = (1.2 * sigmoid - 0.1).clamp_(0, 1)
        gradient = 2 * torch.where(fixed, goal - start, soft - start) @ gram
        progress = (number / rounds - WARM_UP) / (1 - WARM_UP)
        if progress >= 0:
            sharpness = SHARPNESS[1] + (SHARPNESS[0] - SHARPNESS[1]) * (1 - progress)
            away = 2 * soft - 1
            gradient -= REGULARISATION * 2 * sharpness * away.abs().pow_(sharpness - 1) * away.sign()
        gradient *= 1.2 * sigmoid * (1 - sigmoid)
        gradient[(soft <= 0) | (soft >= 1)] = 0
        # Adam
        first.lerp_(gradient, 0.1)
        second.lerp_(gradient.square_(), 0.001)
        step = RATE * (1 - 0.999 ** (number + 1)) ** 0.5 / (1 - 0.9 ** (number + 1))
        slope -= step * first / (second.sqrt() + 1e-8)
    found = scale * (down + torch.where(fixed, goal, (slope > 0).float()).numpy())
    better = error(weights, found, seen) < error(weights, scale * nearest, seen)
    best: Numbers = np.where(better[:, None], found, scale * nearest).astype(np.float32)
    return best
