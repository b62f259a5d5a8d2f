"""Neurons of feed-forward networks taken out, and what the others can make up for made up for."""

from __future__ import annotations

from typing import Annotated, ClassVar

from msgspec import Meta, Struct

from toolkit.compress.calibration import Calibration
from toolkit.compress.quiet import quiet
from toolkit.compress.step import FLOAT, FUSED, Form, StepReport
from toolkit.extras import needs

__all__ = ["PruneNeurons"]


class PruneNeurons(
    Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="prune-neurons"
):
    """Structured pruning: the matrices before and after an activation lose rows and columns, so that the model is
    smaller and faster in any kernel. The share `keep` of the neurons of all networks stays, counted by weights, of each
    a multiple of `multiple`; those go whose loss comes out least in the answer.

    With `repair` the matrix after the activation, and its bias, are fitted to the calibration data again (least
    squares); without, they lose columns and nothing else.

    A network is found by what it computes: linear layers, then operators that work on each channel by itself (GELU in
    any spelling, gates), then a linear layer. One that gives gate and rest at once, as a decoder has it, is made two.

    Kurtic et al., "ZipLM: Inference-Aware Structured Pruning of Language Models", 2023, section 3, with the loss of a
    network measured in the answer.
    """

    takes: ClassVar[frozenset[Form]] = frozenset({FLOAT, FUSED})
    gives: ClassVar[Form | None] = None
    calibrates: ClassVar[bool] = True

    keep: Annotated[float, Meta(gt=0, le=1)] = 0.75
    multiple: Annotated[int, Meta(ge=1, le=1024)] = 16
    repair: bool = True

    def apply(self, model: bytes, data: Calibration) -> tuple[bytes, StepReport]:
        """See Step. Raises CompressionError where the graph has no feed-forward network."""
        with quiet(), needs("compress"):
            from toolkit.compress.inner import neurons
            from toolkit.compress.layers import Graph
            from toolkit.compress.parting import parted
            from toolkit.compress.thinning import thin
        graph = Graph(parted(model, "prune-neurons"), "prune-neurons")
        thin(graph, neurons, data, keep=self.keep, multiple=self.multiple, repair=self.repair)
        return graph.finished()
