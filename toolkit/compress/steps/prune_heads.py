"""Heads of attentions taken out, and what the others can make up for made up for."""

from __future__ import annotations

from typing import Annotated, ClassVar

from msgspec import Meta, Struct

from toolkit.compress.calibration import Calibration
from toolkit.compress.quiet import quiet
from toolkit.compress.step import FLOAT, Form, StepReport
from toolkit.extras import needs

__all__ = ["PruneHeads"]


class PruneHeads(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="prune-heads"):
    """Structured pruning: whole heads go, with their rows of the matrices for queries, keys and values and their
    columns of the one that takes them, so that the model is smaller and faster in any kernel. The share `keep` of the
    heads of all attentions stays, of each at least one; those go whose loss comes out least in the answer.

    With `repair` the matrix that takes the heads, and its bias, are fitted to the calibration data again (least
    squares); without, it loses columns and nothing else.

    An attention is found by what it computes. One whose queries, keys and values are one matrix, or that adds something
    of its own to the scores of each head, stays, and is named.

    Michel et al., "Are Sixteen Heads Really Better than One?", 2019; the repair as in Kurtic et al., "ZipLM:
    Inference-Aware Structured Pruning of Language Models", 2023, section 3.
    """

    takes: ClassVar[frozenset[Form]] = frozenset({FLOAT})
    gives: ClassVar[Form | None] = None
    calibrates: ClassVar[bool] = True

    keep: Annotated[float, Meta(gt=0, le=1)] = 0.75
    repair: bool = True

    def apply(self, model: bytes, data: Calibration) -> tuple[bytes, StepReport]:
        """See Step. Raises CompressionError where the graph has no attention of that form."""
        with quiet(), needs("compress"):
            from toolkit.compress.heads import heads
            from toolkit.compress.layers import Graph
            from toolkit.compress.thinning import thin
        graph = Graph(model, "prune-heads")
        thin(graph, heads, data, keep=self.keep, multiple=1, repair=self.repair)
        return graph.finished()
