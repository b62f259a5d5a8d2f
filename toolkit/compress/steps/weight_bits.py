"""Weights of linear layers in 8, 4 or 2 bits, in blocks; activations stay floats."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from msgspec import Meta, Struct

from toolkit.compress.blocks import Bits, Scales, blocked
from toolkit.compress.calibration import Calibration
from toolkit.compress.quiet import quiet
from toolkit.compress.step import FLOAT, FUSED, QUANTISED, Form, StepReport
from toolkit.extras import needs

__all__ = ["WeightBits"]


class WeightBits(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="weight-bits"):
    """Weight-only quantisation: each block of a column has a scale of its own, found by the least square error or by
    its largest number; with `scales` "hqq" a zero point of its own too (Badri and Shaji, "Half-Quadratic Quantization
    of Large Machine Learning Models", 2023, with whole zero points). With "offset" each block runs from its smallest
    number to its largest, as in Q4_1 of the ggml project: what the runtime's whole zero points cannot hold of that are
    offsets in `bits` bits, which stand behind the weights of an output and are multiplied by the sums of blocks of the
    input. A model that came in such blocks stays nearly what it was. No calibration is needed.

    `block` is the length of a block. `compute` "int8" lets the kernel round the activations of each block too, which
    is faster; "float32" multiplies floats. `exclude` names nodes that stay as they are.

    The kernel is ONNX Runtime's MatMulNBits. Dettmers and Zettlemoyer, "The case for 4-bit precision: k-bit Inference
    Scaling Laws", 2023, section 2, on blocks.
    """

    takes: ClassVar[frozenset[Form]] = frozenset({FLOAT, FUSED, QUANTISED})
    gives: ClassVar[Form | None] = QUANTISED
    calibrates: ClassVar[bool] = False

    bits: Bits = 8
    block: Literal[16, 32, 64, 128] = 32
    scales: Scales = "mse"
    compute: Literal["float32", "int8"] = "int8"
    exclude: tuple[Annotated[str, Meta(max_length=1000)], ...] = ()

    def apply(self, model: bytes, data: Calibration) -> tuple[bytes, StepReport]:
        """See Step. `data` is not needed."""
        with quiet(), needs("compress"):
            from toolkit.compress.block_layers import InBlocks, linear_layers
            from toolkit.compress.layers import Graph
        graph = Graph(model, "weight-bits")
        blocks = InBlocks(graph, bits=self.bits, size=self.block, compute=self.compute)
        for layer in linear_layers(graph, self.exclude):
            found = blocked(graph.matrix(layer)[0, :, :, 0], bits=self.bits, size=self.block, scales=self.scales)
            blocks.put(layer, found)
        return graph.finished()
