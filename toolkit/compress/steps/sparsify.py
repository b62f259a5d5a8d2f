"""Weights of linear layers set to zero, in any place or in a pattern; the matrices keep their shapes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import numpy as np
from msgspec import Meta, Struct
from msgspec.structs import replace
from numpy.typing import NDArray

from toolkit.compress.calibration import Calibration
from toolkit.compress.compensation import TOGETHER, Exact, Give, compensated
from toolkit.compress.hessian import importance, inverse_root
from toolkit.compress.quiet import quiet
from toolkit.compress.step import FLOAT, FUSED, Form, StepReport
from toolkit.extras import needs

if TYPE_CHECKING:
    from toolkit.compress.statistics import Moments

__all__ = ["Sparsify", "sparse"]

Numbers = NDArray[np.float32]


class Sparsify(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="sparsify"):
    """Set the `share` of the weights of each linear layer that matters least to zero. The file is as large as before
    and THE MODEL AS FAST AS BEFORE, since no kernel here skips zeros: what gets smaller is the packed file on its way.
    Report and bundle tell that size beside the others, and how many zeros there are.

    `method` says what a weight is worth: "magnitude" its size (Han et al., "Learning both Weights and Connections for
    Efficient Neural Networks", 2015); "wanda" its size times the root mean square of its input, compared within an
    output (Sun et al., "A Simple and Effective Pruning Approach for Large Language Models", 2024); "sparsegpt" what
    the others cannot make up for, and they do make up for the rest (Frantar and Alistarh, "SparseGPT: Massive Language
    Models Can Be Accurately Pruned in One-Shot", 2023), with `damping` to hold them near where they were.

    `pattern` "2:4" zeroes two of four neighbouring inputs, for which the share is a half; "block" whole squares of
    `block` weights. Convolutions stay as they are. The steps of integers and blocks keep zeros; those that fit
    matrices again (`prune-neurons`, `prune-heads`, `drop-layers`) belong before this one.
    """

    takes: ClassVar[frozenset[Form]] = frozenset({FLOAT, FUSED})
    gives: ClassVar[Form | None] = None
    calibrates: ClassVar[bool] = True

    method: Literal["magnitude", "wanda", "sparsegpt"] = "sparsegpt"
    pattern: Literal["unstructured", "2:4", "block"] = "unstructured"
    share: Annotated[float, Meta(gt=0, lt=1)] = 0.5
    block: Literal[4, 8, 16, 32] = 4
    damping: Annotated[float, Meta(ge=1e-4, le=1)] = 0.01
    exclude: tuple[Annotated[str, Meta(max_length=1000)], ...] = ()

    def __post_init__(self) -> None:
        if self.pattern == "2:4" and self.share != 0.5:
            raise ValueError("`share` is 0.5 where the pattern is 2:4")

    def apply(self, model: bytes, data: Calibration) -> tuple[bytes, StepReport]:
        """See Step."""
        with quiet(), needs("compress"):
            import torch  # noqa: F401 - so that one that is missing is named here

            from toolkit.compress.block_layers import linear_layers
            from toolkit.compress.layers import Graph
            from toolkit.compress.one_thread import one_thread
            from toolkit.compress.sparsity import zeros
            from toolkit.compress.statistics import moments
        graph = Graph(model, "sparsify")
        layers = linear_layers(graph, self.exclude)
        graph.left.extend(f"{layer.name}: a convolution" for layer in graph.layers if not layer.linear)
        with one_thread():
            for layer, seen in moments(graph, layers, data):
                found = sparse(graph.matrix(layer)[0, :, :, 0], seen, self)
                graph.write(layer, found[None, :, :, None])
        after, report = graph.finished()
        return after, replace(report, zeros=zeros(after, [layer.name for layer in layers]))


def sparse(weights: Numbers, seen: Moments, how: Sparsify) -> Numbers:
    """Weights (outputs, channels) with zeros among them, for the moments of their input."""
    from toolkit.compress.sparsity import gone

    if how.method == "magnitude":
        return np.where(gone(np.abs(weights, dtype=np.float64), how.pattern, how.share, how.block), 0, weights)
    if how.method == "wanda":
        scores = np.abs(weights) * importance(seen)
        if how.pattern != "unstructured":
            return np.where(gone(scores, how.pattern, how.share, how.block), 0, weights)
        rows = [gone(row[None], how.pattern, how.share, how.block) for row in scores]
        return np.where(np.concatenate(rows), 0, weights)
    root = inverse_root(seen, np.arange(weights.shape[1]), how.damping)
    powers = np.square(root.diagonal().numpy())

    def choose(start: int, chunk: Exact) -> Give:
        scores = np.square(chunk) / powers[start : start + chunk.shape[1]]
        out = gone(scores, how.pattern, how.share, how.block)
        return lambda at, values: np.where(out[:, at - start], 0, values)

    return compensated(weights, root, 4 if how.pattern == "2:4" else TOGETHER, choose)
