"""Weights that meet large activations made larger before they are rounded, so that they lose less."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from toolkit.compress.blocks import Bits, Scales, cut, raster
from toolkit.compress.calibration import Calibration
from toolkit.compress.hessian import error, importance
from toolkit.compress.quiet import quiet
from toolkit.compress.step import FLOAT, FUSED, Form, StepReport
from toolkit.extras import needs

if TYPE_CHECKING:
    from toolkit.compress.statistics import Moments

__all__ = ["Awq", "searched"]

Numbers = NDArray[np.float32]

POWERS = np.linspace(0, 1, 11)  # of the activations' size, that are tried


class Awq(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="awq"):
    """Divide each input channel of the linear layers by a power of its size, and multiply their weights by it. What
    the model says stays the same; the blocks that follow (`weight-bits` or `gptq`) put finer levels on the weights
    that matter most. The power is that of the least error of the outputs, for blocks of the `bits`, the `block` and
    the `scales` of the step that follows; where none is better than 0, nothing is changed.

    The input is divided where its scale comes from (a normalisation, a layer, the values of an attention) if nothing
    else uses it; else by a Mul of its own, if `insert`, or not at all.

    Lin et al., "AWQ: Activation-aware Weight Quantization for On-Device LLM Compression and Acceleration", 2024, with
    errors from the second moments of the inputs; its clipping is what `scales` "mse" does.
    """

    takes: ClassVar[frozenset[Form]] = frozenset({FLOAT, FUSED})
    gives: ClassVar[Form | None] = None
    calibrates: ClassVar[bool] = True

    bits: Bits = 4
    block: Literal[16, 32, 64, 128] = 32
    scales: Scales = "mse"
    insert: bool = False

    def apply(self, model: bytes, data: Calibration) -> tuple[bytes, StepReport]:
        """See Step."""
        with quiet(), needs("compress"):
            import torch  # noqa: F401 - so that one that is missing is named here

            from toolkit.compress.layers import Graph
            from toolkit.compress.one_thread import one_thread
            from toolkit.compress.rescaling import by_input, rescale
            from toolkit.compress.statistics import moments
        graph = Graph(model, "awq")
        groups = list(by_input(graph).values())
        with one_thread():
            for layers, (_, seen) in zip(groups, moments(graph, [layers[0] for layers in groups], data), strict=True):
                factor = searched([graph.matrix(layer)[0, :, :, 0] for layer in layers], seen, self)
                if (factor != 1).any():
                    rescale(graph, layers, factor, insert=self.insert)
        return graph.finished()


def searched(matrices: Sequence[Numbers], seen: Moments, how: Awq) -> Numbers:
    """What to divide each channel of an input by (channels,), that several weights (outputs, channels) take. Ones where
    that is best (equation 5)."""
    size = importance(seen)
    alive = size[size > 0]
    # a factor far out would drive a channel out of what a float can hold
    bounded = np.clip(size, alive.max() / 1e4, None) if len(alive) else np.ones_like(size)
    best, least = np.ones(len(size), np.float32), np.inf
    for power in POWERS:
        tried = bounded**power
        factor = (tried / np.sqrt(tried.max() * tried.min())).astype(np.float32)
        lost = sum(_lost(weights, factor, seen, how) for weights in matrices)
        if lost < least:
            best, least = factor, lost
    return best


def _lost(weights: Numbers, factor: Numbers, seen: Moments, how: Awq) -> float:
    values = cut(weights * factor, how.block)
    on = raster(values, bits=how.bits, scales=how.scales)
    rounded = on.values(on.integers(values)).reshape(len(weights), -1)[:, : weights.shape[1]]
    return float(error(weights, rounded / factor, seen).sum())
