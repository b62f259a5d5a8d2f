"""Outliers moved from the activations, which are hard to quantise, into the weights, which are easy."""

from __future__ import annotations

from typing import Annotated, ClassVar

import numpy as np
from msgspec import Meta, Struct
from numpy.typing import NDArray

from toolkit.compress.calibration import Calibration
from toolkit.compress.quiet import quiet
from toolkit.compress.step import FLOAT, FUSED, Form, StepReport
from toolkit.extras import needs

__all__ = ["SmoothQuant", "factors"]


class SmoothQuant(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="smooth-quant"):
    """Divide each input channel of the linear layers by a factor, and multiply their weights by it. What the model
    says stays the same.

    The input is divided where its scale comes from (a normalisation, a layer, the values of an attention) if nothing
    else uses it; else by a Mul of its own, if `insert`, or not at all. `alpha` says whose channels become alike: 0
    those of the weights, 1 those of the activations.

    Xiao et al., "SmoothQuant: Accurate and Efficient Post-Training Quantization for Large Language Models", 2023.
    """

    takes: ClassVar[frozenset[Form]] = frozenset({FLOAT, FUSED})
    gives: ClassVar[Form | None] = None
    calibrates: ClassVar[bool] = True

    alpha: Annotated[float, Meta(ge=0, le=1)] = 0.8
    insert: bool = True

    def apply(self, model: bytes, data: Calibration) -> tuple[bytes, StepReport]:
        """See Step."""
        with quiet(), needs("compress"):
            from toolkit.compress.layers import Graph
            from toolkit.compress.rescaling import by_input, rescale
        graph = Graph(model, "smooth-quant")
        groups = by_input(graph)
        peaks: dict[str, NDArray[np.float32]] = {}
        for values in graph.watch(tuple(groups), data):
            for name, value in values.items():
                peak = np.abs(groups[name][0].rows(value)).max(axis=0, initial=0)
                peaks[name] = np.maximum(peaks.get(name, peak), peak)
        for name, layers in groups.items():
            weights = np.max([np.abs(graph.matrix(layer)[0, :, :, 0]).max(axis=0) for layer in layers], axis=0)
            rescale(graph, layers, factors(peaks[name], weights, self.alpha), insert=self.insert)
        return graph.finished()


def factors(activations: NDArray[np.float32], weights: NDArray[np.float32], alpha: float) -> NDArray[np.float32]:
    """What to divide each channel of the activations by, from the largest magnitudes of both (equation 4).

    One where a channel of either is nothing but zeros.
    """
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        factor = activations.astype(np.float64) ** alpha / weights.astype(np.float64) ** (1 - alpha)
    dead = (activations == 0) | (weights == 0) | ~np.isfinite(factor)
    # a factor far out would drive a channel out of what a float can hold
    return np.where(dead, 1, np.clip(factor, 1e-5, 1e5)).astype(np.float32)
