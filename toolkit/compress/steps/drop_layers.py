"""Whole layers taken out: those whose loss comes out least in the answer."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar

import numpy as np
from msgspec import Meta, Struct
from numpy.typing import NDArray

from toolkit.compress.calibration import Calibration
from toolkit.compress.likelihood import divergence, spread
from toolkit.compress.quiet import quiet
from toolkit.compress.step import FLOAT, FUSED, Form, StepReport
from toolkit.extras import needs

if TYPE_CHECKING:
    from toolkit.compress.depth import Span
    from toolkit.compress.layers import Graph

__all__ = ["DropLayers"]

ITEMS = 16  # of the calibration, on which the loss is found

_Maps = Sequence[tuple[NDArray[np.float32], NDArray[np.float32]]]


class DropLayers(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="drop-layers"):
    """Depth pruning: so many `layers`, each an attention with its feed-forward network, go, so that the model is
    smaller and faster by their share. One after the other that goes without which the answer changes least; of a model
    that generates, the probabilities of what comes next.

    With `repair` a square matrix and a shift come in the place of a layer, or of several in a row, fitted by least
    squares to what it made of the calibration data; without, its input is handed on. A model that generates keeps keys
    and values of the layers that are left.

    Men et al., "ShortGPT: Layers in Large Language Models are More Redundant Than You Expect", 2024, with the loss
    measured in the answer; the repair is that of Shopkhoev et al., "ReplaceMe: Network Simplification via Depth Pruning
    and Transformer Block Linearization", 2025.
    """

    takes: ClassVar[frozenset[Form]] = frozenset({FLOAT, FUSED})
    gives: ClassVar[Form | None] = None
    calibrates: ClassVar[bool] = True

    layers: Annotated[int, Meta(ge=1, le=1000)] = 1
    repair: bool = True

    def apply(self, model: bytes, data: Calibration) -> tuple[bytes, StepReport]:
        """See Step. Raises CompressionError where the graph has no layers that are alike, or no more than should go."""
        with quiet(), needs("compress"):
            from toolkit.compress.caches import generates, joined, parted
            from toolkit.compress.weights import finished, opened
        if not generates(opened(model, "drop-layers")):
            return self._dropped(model, data, decodes=False)
        after, report = self._dropped(parted(model, "drop-layers"), data, decodes=True)
        whole = opened(joined(after, model, "drop-layers"), "drop-layers")
        return finished("drop-layers", model, whole, report.left)

    def _dropped(self, model: bytes, data: Calibration, *, decodes: bool) -> tuple[bytes, StepReport]:
        from toolkit.compress.depth import spans
        from toolkit.compress.layers import Graph

        graph = Graph(model, "drop-layers")
        found = spans(graph)
        if len(found) <= self.layers:
            raise graph.failed(f"{len(found)} layers that are alike were found, and {self.layers} should go")
        maps = self._maps(graph, found, data) if self.repair else []
        few = data.first(ITEMS)
        loss = _foretold(model, few) if decodes else _given(model, few)
        gone: list[int] = []
        for _ in range(self.layers):
            losses = {
                number: loss(_without(Graph(model, "drop-layers"), found, [*gone, number], maps)[0])
                for number in range(len(found))
                if number not in gone
            }
            gone.append(min(losses, key=lambda number: losses[number]))
        graph.left += [f"{found[number].name}: layer {number + 1} of {len(found)} went" for number in sorted(gone)]
        return _without(graph, found, gone, maps)

    @staticmethod
    def _maps(graph: Graph, found: Sequence[Span], data: Calibration) -> _Maps:
        from toolkit.compress.statistics import joint
        from toolkit.compress.surgery import straightened

        channels = graph.shapes.get(found[0].start, ("",))[-1]
        if not isinstance(channels, int):
            raise graph.failed("the number of channels between the layers is not known")
        pairs = [(span.start, span.end) for span in found]
        return [straightened(seen) for seen in joint(graph, pairs, channels, data)]


def _given(model: bytes, few: Calibration) -> Callable[[bytes], float]:
    """The loss of a model that was made of another one: what changed in the power of its answers."""
    from toolkit.compress.diagnosis import lost

    expected = list(few.outputs(model))
    return lambda made: lost(expected, few, made)


def _foretold(model: bytes, few: Calibration) -> Callable[[bytes], float]:
    """The same of one that generates: what changed in the probabilities of the tokens that come next. A row of logits
    is as long as the vocabulary, so one text is looked at after the other, and some rows of each are kept."""
    expected = [spread(one["logits"]) for one in few.outputs(model)]

    def loss(made: bytes) -> float:
        pairs = zip(expected, few.outputs(made), strict=True)
        return sum(divergence(right, spread(given["logits"])) for right, given in pairs)

    return loss


def _without(graph: Graph, found: Sequence[Span], gone: Collection[int], maps: _Maps) -> tuple[bytes, StepReport]:
    """The graph without some of its layers, those in a row as one."""
    from onnx import helper

    first = 0
    while first < len(found):
        last = first
        while last in gone:
            last += 1
        if last > first:
            start, end = found[first].start, found[last - 1].end
            node = graph.maker(end)
            assert node is not None  # noqa: S101 - a layer makes it
            if maps:
                matrix, shift = maps[first]
                for another, moved in maps[first + 1 : last]:
                    matrix, shift = matrix @ another, shift @ another + moved
                product = f"{end}.product"
                made = [
                    helper.make_node("MatMul", [start, graph.add(f"{end}.matrix", matrix)], [product], name=product),
                    helper.make_node("Add", [product, graph.add(f"{end}.shift", shift)], [end], name=f"{end}.sum"),
                ]
            else:
                made = [helper.make_node("Identity", [start], [end], name=f"{end}.same")]
            graph.rewire(node, *made)
        first = last + 1
    return graph.finished()
