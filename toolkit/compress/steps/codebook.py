"""Weights of linear layers, and of large convolutions of 1 x 1, as words of a book: two to four weights in a byte."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, NamedTuple

import numpy as np
from msgspec import Meta, Struct
from numpy.typing import NDArray

from toolkit.compress.calibration import Calibration
from toolkit.compress.compensation import Exact, Give, compensated
from toolkit.compress.hessian import error, importance, inverse_root
from toolkit.compress.quiet import quiet
from toolkit.compress.step import FLOAT, FUSED, QUANTISED, Form, StepReport
from toolkit.compress.words import book, nearest
from toolkit.extras import needs

if TYPE_CHECKING:
    from toolkit.compress.layers import Graph, Layer
    from toolkit.compress.statistics import Moments

__all__ = ["Codebook", "Coded", "coded"]

Numbers = NDArray[np.float32]


class Codebook(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="codebook"):
    """Vector quantisation: `word` neighbouring weights of an output are one of the 256 words of the layer's own book,
    times a scale of the output, and so take 8 bits together: 4, 2.7 or 2 bits a weight, with next to nothing beside.
    As in `gptq`, weights that have no word yet are moved to make up for the errors of those that have; `damping` holds
    them near where they were, and an output that comes out no better has the nearest words.

    No operator of the runtime multiplies by words, and none is needed: they are looked up by operators of ONNX from
    constants, which the runtime does once, while it loads. So the file is small, and THE MODEL AS FAST AND AS LARGE IN
    MEMORY AS IN FLOATS. A layer whose inputs are no multiple of `word` stays, and is named.

    `pointwise`, where it is not 0, lets convolutions of one position take part that have at least so many weights:
    what comes after them may still become integers (`static-int8`), they themselves compute in floats.

    van Baalen et al., "GPTVQ: The Blessing of Dimensionality for LLM Quantization", 2024, with one book a layer.
    """

    takes: ClassVar[frozenset[Form]] = frozenset({FLOAT, FUSED})
    gives: ClassVar[Form | None] = QUANTISED
    calibrates: ClassVar[bool] = True

    word: Literal[2, 3, 4] = 2
    damping: Annotated[float, Meta(ge=1e-4, le=1)] = 0.01
    pointwise: Annotated[int, Meta(ge=0)] = 0
    exclude: tuple[Annotated[str, Meta(max_length=1000)], ...] = ()

    def apply(self, model: bytes, data: Calibration) -> tuple[bytes, StepReport]:
        """See Step."""
        with quiet(), needs("compress"):
            import torch  # noqa: F401 - so that one that is missing is named here

            from toolkit.compress.layers import Graph
            from toolkit.compress.one_thread import one_thread
            from toolkit.compress.statistics import moments
        graph = Graph(model, "codebook")
        graph.known(self.exclude)
        taking = [layer for layer in graph.layers if layer.linear or self._large(graph, layer)]
        layers = [layer for layer in taking if layer.name not in self.exclude]
        if not layers:
            raise graph.failed("the graph has no such layer whose weights are constant floats")
        fitting = [layer for layer in layers if graph.matrix(layer).shape[2] % self.word == 0]
        graph.left.extend(
            f"{layer.name}: its inputs are no multiple of {self.word}" for layer in layers if layer not in fitting
        )
        with one_thread():
            for layer, seen in moments(graph, fitting, data):
                _put(graph, layer, coded(graph.matrix(layer)[0, :, :, 0], seen, self))
        return graph.finished()

    def _large(self, graph: Graph, layer: Layer) -> bool:
        groups, outputs, inputs, positions = graph.matrix(layer).shape
        return (groups, positions) == (1, 1) and 0 < self.pointwise <= outputs * inputs


class Coded(NamedTuple):
    """Weights: `codes` uint8 (outputs, words of an output), the `words` (256, length), and `scale` (outputs, 1)."""

    codes: NDArray[np.uint8]
    words: Numbers
    scale: Numbers

    def values(self) -> Numbers:
        """The weights (outputs, channels) that they stand for."""
        return self.words[self.codes].reshape(len(self.codes), -1) * self.scale


def coded(weights: Numbers, seen: Moments, how: Codebook) -> Coded:
    """Weights (outputs, channels) as words, for the moments of their input."""
    outputs, channels = weights.shape
    length = how.word
    size = np.sqrt(np.square(weights, dtype=np.float64).mean(axis=1, keepdims=True))
    scale = np.where(size < np.finfo(np.float32).tiny, 1, size).astype(np.float32)
    powers = np.square(importance(seen)).reshape(-1, length).mean(axis=1)
    words = book((weights / scale).reshape(-1, length), np.tile(powers + 1e-3 * powers.mean() + 1e-30, outputs))
    root = inverse_root(seen, np.arange(channels), how.damping)
    codes: list[NDArray[np.uint8]] = []

    def choose(start: int, chunk: Exact) -> Give:
        # what a word costs once the channels behind it have made up for it, those inside of it among them
        costs = np.linalg.inv(root[start : start + length, start : start + length].numpy())
        asked = (chunk / scale @ costs).astype(np.float32)
        codes.append(nearest(asked, (words @ costs).astype(np.float32)))
        return lambda at, _: words[codes[-1], at - start].astype(np.float64) * scale[:, 0]

    compensated(weights, root, length, choose)
    found = Coded(np.stack(codes, axis=1), words, scale)
    plain = Coded(nearest((weights / scale).reshape(-1, length), words).reshape(outputs, -1), words, scale)
    # what is moved to where no word is errs more and more
    better = error(weights, found.values(), seen) < error(weights, plain.values(), seen)
    return found._replace(codes=np.where(better[:, None], found.codes, plain.codes))


def _put(graph: Graph, layer: Layer, found: Coded) -> None:
    """Let the weights of a layer be looked up when the graph is finished."""
    import onnx
    from onnx import TensorProto, helper

    name = layer.node.input[1]
    codes, words, scale = (
        graph.add(f"{name}.{part}", value)
        for part, value in (
            ("codes", found.codes),
            ("words", found.words),
            ("scale", found.scale.reshape(-1, *[1] * (layer.rank - 1))),
        )
    )
    further = [1] * (layer.rank - 2)  # the positions of a kernel, of which there is one
    shape = graph.add(f"{name}.shape", np.array([len(found.codes), -1, *further]))
    inner = f"{layer.node.output[0]}.{{}}".format
    lookup = [
        helper.make_node("Cast", [codes], [inner("numbers")], to=TensorProto.INT32),
        helper.make_node("Gather", [words, inner("numbers")], [inner("runs")]),
        helper.make_node("Reshape", [inner("runs"), shape], [inner("flat")]),
        helper.make_node("Mul", [inner("flat"), scale], [inner("weights")]),
    ]
    if layer.linear and not graph.by_output(layer):
        lookup.append(helper.make_node("Transpose", [inner("weights")], [inner("turned")], perm=[1, 0]))
    for one in lookup:
        one.name = one.output[0]
    node = onnx.NodeProto()
    node.CopyFrom(layer.node)
    node.input[1] = lookup[-1].output[0]
    graph.replace(layer.node, *lookup, node)
