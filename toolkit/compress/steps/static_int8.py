"""Weights and activations to int8, with ranges from calibration data: faster than dynamic int8, where they hold."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from msgspec import Meta, Struct

from toolkit.compress.calibration import Calibration
from toolkit.compress.errors import CompressionError
from toolkit.compress.grid import Scales
from toolkit.compress.quiet import quiet
from toolkit.compress.step import FLOAT, FUSED, QUANTISED, Form, StepReport
from toolkit.extras import needs

if TYPE_CHECKING:
    from toolkit.compress.layers import Graph

__all__ = ["StaticInt8"]


class StaticInt8(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="static-int8"):
    """Static quantisation: the scale of each activation is found once, from calibration data.

    `reach` says what works on integers. "layers": the inputs of the linear layers, and tables of embeddings; what
    comes out of a layer is a float again. That is right for transformers. "graph": every operator for which ONNX
    Runtime has a kernel, results too (its own quantiser, with our ranges). That is right for convolutions. "auto":
    "graph" where convolutions hold most of the weights.

    `range` is how the range of an activation is found (see toolkit.compress.ranges), `percentile` what of the values
    stays in it, of a hundred. `keep_masks` leaves the nodes that carry the mask constants of an attention as floats.
    `activation_bits` 16 keeps activations nearly exact and the weights small, without a fast kernel. `scales` is how
    the scale of the weights is found (see toolkit.compress.grid): with "pairs" the answers are the same on processors
    with and without VNNI, where large products saturate otherwise, and nearly those of all eight bits. `exclude` names
    nodes that stay as they are.

    Activations are unsigned and weights signed: both signed is what some processors have no kernel for. Jacob et al.,
    "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference", 2018.
    """

    takes: ClassVar[frozenset[Form]] = frozenset({FLOAT, FUSED, QUANTISED})
    gives: ClassVar[Form | None] = QUANTISED
    calibrates: ClassVar[bool] = True

    reach: Literal["auto", "layers", "graph"] = "auto"
    range: Literal["minmax", "percentile", "mse", "entropy"] = "minmax"
    percentile: Annotated[float, Meta(ge=50, le=100)] = 99.99
    keep_masks: bool = True
    activation_bits: Literal[8, 16] = 8
    per_channel: bool = True
    scales: Scales = "minmax"
    tables: bool = True
    exclude: tuple[str, ...] = ()

    def apply(self, model: bytes, data: Calibration) -> tuple[bytes, StepReport]:
        """See Step."""
        with quiet(), needs("compress"):
            from toolkit.compress.integer_graph import integer_graph
            from toolkit.compress.integer_layers import IntegerLayers
            from toolkit.compress.layers import Graph
            from toolkit.compress.masks import masking
            from toolkit.compress.ranges import affine, ranges
            from toolkit.compress.weights import finished, floats_left, stored
        graph = Graph(model, "static-int8")
        graph.known(self.exclude)
        integers_before = stored(graph.model).get("int8", 0)
        exclude = frozenset(self.exclude) | (masking(graph.model) if self.keep_masks else frozenset())
        layers = [layer for layer in graph.layers if layer.name not in exclude]
        if self.whole(graph):
            result = integer_graph(self, graph, exclude, data)
            after, report = finished("static-int8", model, result, floats_left(result))
        else:
            linear = [layer for layer in layers if layer.linear]
            names = tuple(dict.fromkeys(layer.input for layer in linear))
            found = ranges(lambda: graph.watch(names, data), self.range, self.percentile) if names else {}
            integers = IntegerLayers(graph, per_channel=self.per_channel, scales=self.scales)
            scales = {name: affine(one, self.activation_bits) for name, one in found.items()}
            integers.linear(linear, scales, self.activation_bits)
            if self.tables:
                integers.tables(exclude)
            after, report = graph.finished()
        if report.weights.get("int8", 0) <= integers_before:
            raise CompressionError("step_failed", "static-int8: no weight became an integer")
        return after, report

    def whole(self, graph: Graph) -> bool:
        """Whether all of a graph becomes integers, and not layers alone."""
        return self.reach == "graph" or (self.reach == "auto" and graph.convolves)
