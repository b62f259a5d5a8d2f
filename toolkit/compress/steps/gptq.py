"""Weights of linear layers in few bits, each rounded so that those after it make up for its error."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import numpy as np
from msgspec import Meta, Struct
from numpy.typing import NDArray

from toolkit.compress.blocks import Bits, Blocks, Raster, Scales, cut, raster
from toolkit.compress.calibration import Calibration
from toolkit.compress.compensation import Exact, Give, compensated
from toolkit.compress.hessian import importance, inverse_root
from toolkit.compress.quiet import quiet
from toolkit.compress.step import FLOAT, FUSED, QUANTISED, Form, StepReport
from toolkit.extras import needs

if TYPE_CHECKING:
    from toolkit.compress.statistics import Moments

__all__ = ["Gptq", "rounded"]

Numbers = NDArray[np.float32]


class Gptq(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="gptq"):
    """Weight-only quantisation as `weight-bits` does it, to a file of the same form and size, with less error in the
    outputs for the calibration data: input channel by input channel is rounded, and the weights of the channels that
    are not rounded yet are moved to make up for it, by the inverse of the Hessian of the layer's square error.

    `order` says which channels come first: "columns" those that stand first, and each block gets its scale from its
    weights as they are when it is reached; "activation" those with the most power, whose errors all others can make
    up for. The runtime wants neighbours in a block, so then the scales are found beforehand, from the weights as they
    were. `damping` holds weights near where they were. A weight that is zero stays zero, save with `scales` "offset",
    whose blocks need not have a zero. The other fields are those of `weight-bits`.

    The Hessian is that of the float model: what the rounding of one layer changes in the input of the next is not
    followed up. Frantar et al., "GPTQ: Accurate Post-Training Quantization for Generative Pre-trained Transformers",
    2023.
    """

    takes: ClassVar[frozenset[Form]] = frozenset({FLOAT, FUSED})
    gives: ClassVar[Form | None] = QUANTISED
    calibrates: ClassVar[bool] = True

    bits: Bits = 4
    block: Literal[16, 32, 64, 128] = 32
    scales: Scales = "mse"
    order: Literal["columns", "activation"] = "activation"
    damping: Annotated[float, Meta(ge=1e-4, le=1)] = 0.01
    compute: Literal["float32", "int8"] = "int8"
    exclude: tuple[Annotated[str, Meta(max_length=1000)], ...] = ()

    def apply(self, model: bytes, data: Calibration) -> tuple[bytes, StepReport]:
        """See Step."""
        with quiet(), needs("compress"):
            import torch  # noqa: F401 - so that one that is missing is named here

            from toolkit.compress.block_layers import InBlocks, linear_layers
            from toolkit.compress.layers import Graph
            from toolkit.compress.one_thread import one_thread
            from toolkit.compress.statistics import moments
        graph = Graph(model, "gptq")
        blocks = InBlocks(graph, bits=self.bits, size=self.block, compute=self.compute)
        with one_thread():
            for layer, seen in moments(graph, linear_layers(graph, self.exclude), data):
                found = rounded(graph.matrix(layer)[0, :, :, 0], seen, self)
                blocks.put(layer, found)
        return graph.finished()


def rounded(weights: Numbers, seen: Moments, how: Gptq) -> Blocks:
    """The blocks of weights (outputs, channels), for the moments of their input."""
    channels = np.arange(weights.shape[1])
    alive = weights != 0
    if how.order == "activation":
        order = np.argsort(-importance(seen), kind="stable")
        on = raster(cut(weights, how.block), bits=how.bits, scales=how.scales)
        singles = [on.one(block) for block in range(on.scale.shape[1])]

        def beforehand(_: int, block: Exact) -> Give:
            return lambda at, values: _nearest(singles[order[at] // how.block], values * alive[:, order[at]])

        ordered = np.ascontiguousarray(weights[:, order])
        found = np.empty_like(weights)
        found[:, order] = compensated(ordered, inverse_root(seen, order, how.damping), how.block, beforehand)
        return on.blocks(cut(found, how.block))
    reached: list[Raster] = []

    def when_reached(start: int, block: Exact) -> Give:
        values = np.where(alive[:, start : start + block.shape[1]], block, 0).astype(np.float32)
        reached.append(raster(cut(values, how.block), bits=how.bits, scales=how.scales))
        return lambda at, values: _nearest(reached[-1], values * alive[:, at])

    found = compensated(weights, inverse_root(seen, channels, how.damping), how.block, when_reached)
    zeros = [on.zero for on in reached if on.zero is not None]
    zero = np.concatenate(zeros, axis=1) if zeros else None
    scale = np.concatenate([on.scale for on in reached], axis=1)
    return Raster(scale, zero, how.bits, reached[0].offsets).blocks(cut(found, how.block))


def _nearest(on: Raster, values: Exact) -> Exact:
    """The numbers (outputs,) of a block next to some."""
    column = values.astype(np.float32)[:, None, None]
    return on.values(on.integers(column))[:, 0, 0].astype(np.float64)
