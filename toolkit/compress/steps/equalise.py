"""The ranges of two layers that follow each other made alike, channel by channel."""

from __future__ import annotations

from typing import Annotated, ClassVar

import numpy as np
from msgspec import Meta, Struct
from numpy.typing import NDArray

from toolkit.compress.calibration import Calibration
from toolkit.compress.quiet import quiet
from toolkit.compress.step import FLOAT, FUSED, Form, StepReport
from toolkit.extras import needs

__all__ = ["Equalise", "balance"]


class Equalise(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="equalise"):
    """Cross-layer equalisation: divide each output channel of a layer by a factor, and multiply the weights of the
    layer that takes it, so that both have the same range there. What the model says stays the same, and no data is
    needed.

    Between the two there may be what scales with its input: ReLU and its kin, pooling, additions of constants, and
    attention over the values. A clip such as ReLU6, a GELU and a batch normalisation that was not folded do not; such
    pairs are left. Chains are swept `sweeps` times.

    Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction", 2019, section 4.1.
    """

    takes: ClassVar[frozenset[Form]] = frozenset({FLOAT, FUSED})
    gives: ClassVar[Form | None] = None
    calibrates: ClassVar[bool] = False

    sweeps: Annotated[int, Meta(ge=1, le=100)] = 10

    def apply(self, model: bytes, data: Calibration) -> tuple[bytes, StepReport]:
        """See Step. `data` is not needed. Raises CompressionError where no two layers can be equalised."""
        with quiet(), needs("compress"):
            from toolkit.compress.channels import divide, multiply_inputs, origin
            from toolkit.compress.layers import Graph
        graph = Graph(model, "equalise")
        pairs = []
        for layer in graph.layers:
            groups, _, inputs, _ = graph.matrix(layer).shape
            users = graph.users(layer.input)
            alone = users is not None and len(users) == 1
            found = origin(graph, layer.input, layer.axis, groups * inputs) if alone else None
            if found is not None and found.layer is not None:
                pairs.append((found, found.layer, layer))
            else:
                graph.left.append(f"{layer.name}: no layer before it whose channels only it takes")
        if not pairs:
            raise graph.failed("the graph has no two layers that follow each other")
        for _ in range(self.sweeps):
            for found, first, second in pairs:
                outgoing = np.abs(graph.matrix(first)).max(axis=(2, 3)).reshape(-1)
                incoming = np.abs(graph.matrix(second)).max(axis=(1, 3)).reshape(-1)
                factor = balance(outgoing, incoming)
                divide(graph, found, factor)
                multiply_inputs(graph, second, factor)
        return graph.finished()


def balance(outgoing: NDArray[np.float32], incoming: NDArray[np.float32]) -> NDArray[np.float32]:
    """What to divide each channel of the first layer by, from the ranges of its outputs and of the second's inputs,
    so that both become the root of their product (equation 11). One where a channel of either is nothing but zeros.
    """
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        factor = np.sqrt(outgoing.astype(np.float64) / incoming.astype(np.float64))
    dead = (outgoing == 0) | (incoming == 0)
    # a factor far out would drive a bias out of what a float can hold
    return np.where(dead, 1, np.clip(factor, 1e-5, 1e5)).astype(np.float32)
