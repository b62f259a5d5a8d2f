"""Weights of linear layers in 8 or 4 bits, in blocks; activations stay floats."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from msgspec import Meta, Struct

from toolkit.compress.blocks import Scales, blocked
from toolkit.compress.calibration import Calibration
from toolkit.compress.quiet import quiet
from toolkit.compress.step import FLOAT, FUSED, QUANTISED, Form, StepReport
from toolkit.extras import needs

__all__ = ["WeightBits"]


class WeightBits(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="weight-bits"):
    """Weight-only quantisation: each block of a column has a scale of its own, found by the least square error or by
    its largest number. No calibration is needed.

    `block` is the length of a block. `compute` "int8" lets the kernel round the activations of each block too, which
    is faster; "float32" multiplies floats. `exclude` names nodes that stay as they are.

    The kernel is ONNX Runtime's MatMulNBits. Dettmers and Zettlemoyer, "The case for 4-bit precision: k-bit Inference
    Scaling Laws", 2023, section 2, on blocks.
    """

    takes: ClassVar[frozenset[Form]] = frozenset({FLOAT, FUSED, QUANTISED})
    gives: ClassVar[Form | None] = QUANTISED
    calibrates: ClassVar[bool] = False

    bits: Literal[4, 8] = 8
    block: Literal[16, 32, 64, 128] = 32
    scales: Scales = "mse"
    compute: Literal["float32", "int8"] = "int8"
    exclude: tuple[Annotated[str, Meta(max_length=1000)], ...] = ()

    def apply(self, model: bytes, data: Calibration) -> tuple[bytes, StepReport]:
        """See Step. `data` is not needed."""
        with quiet(), needs("compress"):
            from onnx import helper

            from toolkit.compress.layers import RUNTIME, Graph
        graph = Graph(model, "weight-bits")
        graph.known(self.exclude)
        layers = [layer for layer in graph.layers if layer.linear and layer.name not in self.exclude]
        if not layers:
            raise graph.failed("the graph has no linear layer whose weights are constant floats")
        for layer in layers:
            matrix = graph.matrix(layer)[0, :, :, 0]
            found = blocked(matrix, bits=self.bits, size=self.block, scales=self.scales)
            node = layer.node
            outputs, inputs = matrix.shape
            bias = node.input[2] if len(node.input) > 2 else ""
            weights = graph.add(f"{node.output[0]}.bits", found.packed)
            scale = graph.add(f"{node.output[0]}.scale", found.scale)
            taken = [node.input[0], weights, scale, *(["", "", bias] if bias else [])]
            made = helper.make_node(
                "MatMulNBits",
                taken,
                list(node.output),
                name=node.name,
                domain=RUNTIME,
                K=inputs,
                N=outputs,
                bits=self.bits,
                block_size=self.block,
                accuracy_level=4 if self.compute == "int8" else 1,
            )
            graph.replace(node, made)
        return graph.finished()
