"""Tables of embeddings in 8, 4 or 2 bits, in blocks: half of a small encoder is its word table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from msgspec import Meta, Struct

from toolkit.compress.blocks import Bits, Scales, blocked
from toolkit.compress.calibration import Calibration
from toolkit.compress.quiet import quiet
from toolkit.compress.step import FLOAT, FUSED, QUANTISED, Form, StepReport
from toolkit.extras import needs

if TYPE_CHECKING:
    from toolkit.compress.layers import Graph

__all__ = ["TableBits"]


class TableBits(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="table-bits"):
    """Each block of a row has a scale of its own, found by the least square error or by its largest number; with
    `scales` "hqq" a zero point of its own too (see `weight-bits`). Looked up rows are made floats again, so that the
    speed stays what it was.

    `least` is the size in numbers below which a table is not worth it and stays as it is. A table that something other
    than a look-up uses too (one tied to the output of a language model) stays, and is named.

    The kernel is ONNX Runtime's GatherBlockQuantized. Guan et al., "Post-Training 4-bit Quantization on Embedding
    Tables", 2019.
    """

    takes: ClassVar[frozenset[Form]] = frozenset({FLOAT, FUSED, QUANTISED})
    gives: ClassVar[Form | None] = QUANTISED
    calibrates: ClassVar[bool] = False

    bits: Bits = 4
    block: Literal[16, 32, 64, 128] = 32
    scales: Scales = "mse"
    least: Annotated[int, Meta(ge=0)] = 10_000

    def apply(self, model: bytes, data: Calibration) -> tuple[bytes, StepReport]:
        """See Step. `data` is not needed."""
        with quiet(), needs("compress"):
            from onnx import helper

            from toolkit.compress.layers import RUNTIME, Graph
        graph = Graph(model, "table-bits", layers=False)
        tables = graph.tables(self.least)
        if not tables:
            raise graph.failed("the graph has no table of float rows that only look-ups use")
        for name, users in tables.items():
            table, *found = self._added(graph, name)
            for node in users:
                made = helper.make_node(
                    "GatherBlockQuantized",
                    [table, node.input[1], *found],
                    list(node.output),
                    name=node.name,
                    domain=RUNTIME,
                    bits=self.bits,
                    block_size=self.block,
                    gather_axis=0,
                    quantize_axis=1,
                )
                graph.replace(node, made)
        return graph.finished()

    def _added(self, graph: Graph, name: str) -> list[str]:
        """The names of the integers, the scales and perhaps the zero points of a table. They are large: the arrays are
        gone when it is done."""
        found = blocked(graph.rows(name), bits=self.bits, size=self.block, scales=self.scales)
        table = graph.add(f"{name}.bits", found.packed.reshape(len(found.packed), -1))
        scale = graph.add(f"{name}.scale", found.scale)
        return [table, scale, *([] if found.zero is None else [graph.add(f"{name}.zero", found.zero)])]
