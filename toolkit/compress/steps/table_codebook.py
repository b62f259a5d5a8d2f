"""Tables of embeddings as words of a book: two to four numbers of a row in a byte."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, NamedTuple

import numpy as np
from msgspec import Meta, Struct

from toolkit.compress.calibration import Calibration
from toolkit.compress.quiet import quiet
from toolkit.compress.step import FLOAT, FUSED, QUANTISED, Form, StepReport
from toolkit.compress.words import book, nearest
from toolkit.extras import needs

if TYPE_CHECKING:
    import onnx

    from toolkit.compress.layers import Graph

__all__ = ["TableCodebook"]


class TableCodebook(
    Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="table-codebook"
):
    """Vector quantisation: `word` neighbouring numbers of a row are one of the 256 words of the table's own book, times
    a scale of the row, and so take 8 bits together: 4, 2.7 or 2 bits a number. A looked-up row is put together from its
    words by operators of ONNX, which costs next to nothing beside a model.

    `least` is the size in numbers below which a table is not worth it and stays as it is. A table that something other
    than a look-up uses too stays, and is named.

    As Jégou et al., "Product Quantization for Nearest Neighbor Search", 2011, with one book for all places of a row.
    """

    takes: ClassVar[frozenset[Form]] = frozenset({FLOAT, FUSED, QUANTISED})
    gives: ClassVar[Form | None] = QUANTISED
    calibrates: ClassVar[bool] = False

    word: Literal[2, 3, 4] = 2
    least: Annotated[int, Meta(ge=0)] = 10_000

    def apply(self, model: bytes, data: Calibration) -> tuple[bytes, StepReport]:
        """See Step. `data` is not needed."""
        with quiet(), needs("compress"):
            import torch  # noqa: F401 - so that one that is missing is named here

            from toolkit.compress.layers import Graph
            from toolkit.compress.one_thread import one_thread
        graph = Graph(model, "table-codebook", layers=False)
        tables = graph.tables(self.least)
        if not tables:
            raise graph.failed("the graph has no table of float rows that only look-ups use")
        with one_thread():
            for name, users in tables.items():
                parts = self._added(graph, name)
                for node in users:
                    graph.replace(node, *_lookup(node, parts))
        return graph.finished()

    def _added(self, graph: Graph, name: str) -> _Parts:
        """The names of what a table becomes. The arrays are gone when it is done."""
        rows = graph.rows(name)
        count, width = rows.shape
        size = np.sqrt(np.square(rows, dtype=np.float64).mean(axis=1, keepdims=True))
        scale = np.where(size < np.finfo(np.float32).tiny, 1, size).astype(np.float32)
        runs = np.pad(rows / scale, ((0, 0), (0, -width % self.word))).reshape(-1, self.word)
        words = book(runs)
        codes = nearest(runs, words).reshape(count, -1)
        filled = codes.shape[1] * self.word
        return _Parts(
            codes=graph.add(f"{name}.codes", codes),
            words=graph.add(f"{name}.words", words),
            scale=graph.add(f"{name}.scale", scale),
            row=graph.add(f"{name}.row", np.array([filled])),
            start=graph.add(f"{name}.start", np.array([0])) if filled > width else "",
            end=graph.add(f"{name}.end", np.array([width])) if filled > width else "",
            axis=graph.add(f"{name}.axis", np.array([-1])) if filled > width else "",
        )


class _Parts(NamedTuple):
    """Names of constants: `row` is how many numbers the words of a row have, of which those from `start` to `end`
    along `axis`, the last, are the row's; "" where these are all."""

    codes: str
    words: str
    scale: str
    row: str
    start: str
    end: str
    axis: str


def _lookup(node: onnx.NodeProto, parts: _Parts) -> list[onnx.NodeProto]:
    from onnx import TensorProto, helper

    result, ids = node.output[0], node.input[1]
    inner = f"{result}.{{}}".format
    made = [
        helper.make_node("Gather", [parts.codes, ids], [inner("codes")]),
        helper.make_node("Cast", [inner("codes")], [inner("numbers")], to=TensorProto.INT32),
        helper.make_node("Gather", [parts.words, inner("numbers")], [inner("runs")]),
        helper.make_node("Shape", [ids], [inner("places")]),
        helper.make_node("Concat", [inner("places"), parts.row], [inner("shape")], axis=0),
        helper.make_node("Reshape", [inner("runs"), inner("shape")], [inner("flat")]),
    ]
    if parts.end:
        cut = [inner("flat"), parts.start, parts.end, parts.axis]
        made.append(helper.make_node("Slice", cut, [inner("cut")]))
    return [
        *made,
        helper.make_node("Gather", [parts.scale, ids], [inner("scale")]),
        helper.make_node("Mul", [made[-1].output[0], inner("scale")], [result], name=node.name),
    ]
