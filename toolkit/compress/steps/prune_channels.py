"""Channels of convolutions taken out, and what the others can make up for made up for."""

from __future__ import annotations

from typing import Annotated, ClassVar

from msgspec import Meta, Struct

from toolkit.compress.calibration import Calibration
from toolkit.compress.quiet import quiet
from toolkit.compress.step import FLOAT, Form, StepReport
from toolkit.extras import needs

__all__ = ["PruneChannels"]


class PruneChannels(
    Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="prune-channels"
):
    """Structured pruning: channels between convolutions go, with the filters that make them, the depthwise filters and
    the numbers of normalisations that work on them, and the weights that take them, so that the model is smaller and
    faster in any kernel. The share `keep` of them stays, of each group a multiple of `multiple`; those go whose loss
    comes out least in the answer.

    With `repair` the layer that takes the channels, and its bias, are fitted to the calibration data again (least
    squares over what comes to each position of its kernel); without, it loses weights and nothing else.

    Channels that hang together are found by what the graph computes: normalisations, activations, pools, gates and
    squeeze-and-excitation are gone through. Those of the sum that runs through a network with shortcuts stay, and are
    named.

    Fang et al., "DepGraph: Towards Any Structural Pruning", 2023; He et al., "Channel Pruning for Accelerating Very
    Deep Neural Networks", 2017, for the repair, with the loss of a group measured in the answer.
    """

    takes: ClassVar[frozenset[Form]] = frozenset({FLOAT})
    gives: ClassVar[Form | None] = None
    calibrates: ClassVar[bool] = True

    keep: Annotated[float, Meta(gt=0, le=1)] = 0.75
    multiple: Annotated[int, Meta(ge=1, le=1024)] = 8
    repair: bool = True

    def apply(self, model: bytes, data: Calibration) -> tuple[bytes, StepReport]:
        """See Step. Raises CompressionError where the graph has no such channels."""
        with quiet(), needs("compress"):
            from toolkit.compress.coupled import coupled
            from toolkit.compress.layers import Graph
            from toolkit.compress.thinning import thin
        graph = Graph(model, "prune-channels")
        thin(graph, coupled, data, keep=self.keep, multiple=self.multiple, repair=self.repair)
        return graph.finished()
