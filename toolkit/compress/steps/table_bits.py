"""Tables of embeddings in 8, 4 or 2 bits, in blocks: half of a small encoder is its word table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, NamedTuple

import numpy as np
from msgspec import Meta, Struct

from toolkit.compress.blocks import Bits, Whole, blocked
from toolkit.compress.calibration import Calibration
from toolkit.compress.quiet import quiet
from toolkit.compress.step import FLOAT, FUSED, QUANTISED, Form, StepReport
from toolkit.extras import needs

if TYPE_CHECKING:
    from onnx import NodeProto

    from toolkit.compress.layers import Graph

__all__ = ["TableBits"]


class TableBits(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="table-bits"):
    """Each block of a row has a scale of its own, found by the least square error or by its largest number; with
    `scales` "hqq" a zero point of its own too (see `weight-bits`). Looked up rows are made floats again, so that the
    speed stays what it was.

    `least` is the size in numbers below which a table is not worth it and stays as it is. A table that is tied to the
    output of a language model is stored once for both; its product rounds the activations of each block too where
    `compute` is "int8", as in `weight-bits`. One that something else uses stays, and is named.

    The kernels are ONNX Runtime's GatherBlockQuantized and MatMulNBits. Guan et al., "Post-Training 4-bit Quantization
    on Embedding Tables", 2019.
    """

    takes: ClassVar[frozenset[Form]] = frozenset({FLOAT, FUSED, QUANTISED})
    gives: ClassVar[Form | None] = QUANTISED
    calibrates: ClassVar[bool] = False

    bits: Bits = 4
    block: Literal[16, 32, 64, 128] = 32
    scales: Whole = "mse"
    least: Annotated[int, Meta(ge=0)] = 10_000
    compute: Literal["float32", "int8"] = "int8"

    def apply(self, model: bytes, data: Calibration) -> tuple[bytes, StepReport]:
        """See Step. `data` is not needed."""
        with quiet(), needs("compress"):
            from toolkit.compress.layers import Graph
        graph = Graph(model, "table-bits", layers=False)
        tables = graph.tables(self.least, tied=True)
        if not tables:
            raise graph.failed("the graph has no table of float rows that only look-ups use")
        for name, users in tables.items():
            added = self._added(graph, name, tied=any(node.op_type != "Gather" for node in users))
            for node in users:
                made = self._looked_up if node.op_type == "Gather" else self._product
                graph.replace(node, *made(node, added))
        return graph.finished()

    def _looked_up(self, node: NodeProto, added: _Added) -> list[NodeProto]:
        from onnx import helper

        from toolkit.compress.layers import RUNTIME

        # rows of bytes, of which a product has blocks: they are stored once
        flat = f"{node.output[0]}.rows"
        made = [helper.make_node("Reshape", [added.table, added.flat], [flat], name=flat)] if added.flat else []
        whole = f"{node.output[0]}.whole" if added.ends else node.output[0]
        lookup = helper.make_node(
            "GatherBlockQuantized",
            [flat if added.flat else added.table, node.input[1], *added.scales],
            [whole],
            name=node.name,
            domain=RUNTIME,
            bits=self.bits,
            block_size=self.block,
            gather_axis=0,
            quantize_axis=1,
        )
        # the runtime hands out the zeros too that the last block of a row is filled up with
        cut = [helper.make_node("Slice", [whole, *added.ends], list(node.output), name=whole)] if added.ends else []
        return [*made, lookup, *cut]

    def _product(self, node: NodeProto, added: _Added) -> list[NodeProto]:
        from onnx import helper

        from toolkit.compress.layers import RUNTIME

        product = helper.make_node(
            "MatMulNBits",
            [node.input[0], added.table, *added.scales],
            list(node.output),
            name=node.name,
            domain=RUNTIME,
            K=added.columns,
            N=added.rows,
            bits=self.bits,
            block_size=self.block,
            accuracy_level=4 if self.compute == "int8" else 1,
        )
        return [product]

    def _added(self, graph: Graph, name: str, *, tied: bool) -> _Added:
        """The integers, the scales and perhaps the zero points of a table. They are large: the arrays are gone when it
        is done."""
        rows = graph.rows(name)
        found = blocked(rows, bits=self.bits, size=self.block, scales=self.scales)
        flat = found.packed.reshape(len(rows), -1)
        table = graph.add(f"{name}.bits", found.packed if tied else flat)
        scales = [graph.add(f"{name}.scale", found.scale)]
        if found.zero is not None:
            scales.append(graph.add(f"{name}.zero", found.zero))
        shape = graph.add(f"{name}.flat", np.array(flat.shape, np.int64)) if tied else ""
        ends = []
        if rows.shape[1] % self.block:
            ends = [graph.add(f"{name}.{end}", np.array([at])) for end, at in _ends(rows.shape[1]).items()]
        return _Added(table, scales, shape, ends, *rows.shape)


class _Added(NamedTuple):
    """The names of the constants that a table (rows, columns) became: `table`, `scales` with perhaps zero points,
    `flat`, the shape of the rows of bytes, where a product has the table in blocks, and `ends`, where what is looked up
    begins and ends, where a row is not whole blocks."""

    table: str
    scales: list[str]
    flat: str
    ends: list[str]
    rows: int
    columns: int


def _ends(columns: int) -> dict[str, int]:
    """What a Slice of rows takes, in its order."""
    return {"first": 0, "end": columns, "axis": -1}
