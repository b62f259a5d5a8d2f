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
            from toolkit.compress.channels import divide, multiply_inputs, origin
            from toolkit.compress.layers import Graph, Layer
        graph = Graph(model, "smooth-quant")
        groups: dict[str, list[Layer]] = {}
        for layer in graph.layers:
            if layer.linear:
                groups.setdefault(layer.input, []).append(layer)
        if not groups:
            raise graph.failed("the graph has no linear layer whose weights are constant floats")
        peaks: dict[str, NDArray[np.float32]] = {}
        for values in graph.watch(tuple(groups), data):
            for name, value in values.items():
                peak = np.abs(groups[name][0].rows(value)).max(axis=0, initial=0)
                peaks[name] = np.maximum(peaks.get(name, peak), peak)
        for name, layers in groups.items():
            weights = np.max([np.abs(graph.matrix(layer)[0, :, :, 0]).max(axis=0) for layer in layers], axis=0)
            factor = factors(peaks[name], weights, self.alpha)
            users = graph.users(name)
            ours = users is not None and all(any(user is layer.node for layer in layers) for user in users)
            found = origin(graph, name, -1, len(factor)) if ours else None
            if found is not None:
                divide(graph, found, factor)
            elif self.insert:
                graph.multiply(layers, np.reciprocal(factor))
            else:
                graph.left.extend(f"{layer.name}: its input cannot be divided without a Mul" for layer in layers)
                continue
            for layer in layers:
                multiply_inputs(graph, layer, factor)
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
