"""Linear layers as the product of two of lower rank."""

from __future__ import annotations

from typing import Annotated, ClassVar

from msgspec import Meta, Struct

from toolkit.compress.calibration import Calibration
from toolkit.compress.quiet import quiet
from toolkit.compress.step import FLOAT, FUSED, Form, StepReport
from toolkit.extras import needs

__all__ = ["Factorise"]


class Factorise(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="factorise"):
    """W becomes W C, held as two matrices with fewer weights than the one. The share `keep` of the weights of all
    linear layers stays; ranks are multiples of `multiple`, and what loses least in the answer for what it saves goes
    first. Layers that take the same tensor, such as those of queries, keys and values, share the matrix that takes it.

    `aware` of what comes in, the output over the calibration data changes least (activation-aware SVD); otherwise the
    weights do (plain SVD). Either way the bias makes up for what is lost of the mean.

    Wang et al., "SVD-LLM: Truncation-aware Singular Value Decomposition for Large Language Model Compression", 2024;
    the shared factor is that of Wang et al., "Basis Sharing: Cross-Layer Parameter Sharing for Large Language Model
    Compression", 2024, within a layer.
    """

    takes: ClassVar[frozenset[Form]] = frozenset({FLOAT, FUSED})
    gives: ClassVar[Form | None] = None
    calibrates: ClassVar[bool] = True

    keep: Annotated[float, Meta(gt=0, le=1)] = 0.8
    multiple: Annotated[int, Meta(ge=1, le=1024)] = 16
    aware: bool = True

    def apply(self, model: bytes, data: Calibration) -> tuple[bytes, StepReport]:
        """See Step. Raises CompressionError where no layer is large enough."""
        with quiet(), needs("compress"):
            from toolkit.compress.factoring import factorise
            from toolkit.compress.layers import Graph
        graph = Graph(model, "factorise")
        factorise(graph, data, keep=self.keep, multiple=self.multiple, aware=self.aware)
        return graph.finished()
