"""Tables of embeddings as words of a book: two to four numbers of a row in a byte."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

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
    than a look-up uses too stays, and so does one whose rows are no multiple of `word`; both are named.

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
        fitting = {name: users for name, users in tables.items() if graph.rows(name).shape[1] % self.word == 0}
        graph.left.extend(f"{name}: its rows are no multiple of {self.word}" for name in tables if name not in fitting)
        if not fitting:
            raise graph.failed("the graph has no table of float rows that only look-ups use and that words fill")
        with one_thread():
            for name, users in fitting.items():
                parts = self._added(graph, name)
                for node in users:
                    graph.replace(node, *_lookup(node, *parts))
        return graph.finished()

    def _added(self, graph: Graph, name: str) -> tuple[str, str, str, str]:
        """The names of the codes, the words, the scales and the shape of a row. The arrays are gone when it is done."""
        rows = graph.rows(name)
        size = np.sqrt(np.square(rows, dtype=np.float64).mean(axis=1, keepdims=True))
        scale = np.where(size < np.finfo(np.float32).tiny, 1, size).astype(np.float32)
        runs = (rows / scale).reshape(-1, self.word)
        words = book(runs)
        codes = nearest(runs, words).reshape(len(rows), -1)
        return (
            graph.add(f"{name}.codes", codes),
            graph.add(f"{name}.words", words),
            graph.add(f"{name}.scale", scale),
            graph.add(f"{name}.row", np.array([rows.shape[1]])),
        )


def _lookup(node: onnx.NodeProto, codes: str, words: str, scale: str, row: str) -> list[onnx.NodeProto]:
    from onnx import TensorProto, helper

    result = node.output[0]
    ids = node.input[1]
    inner = f"{result}.{{}}".format
    return [
        helper.make_node("Gather", [codes, ids], [inner("codes")]),
        helper.make_node("Cast", [inner("codes")], [inner("numbers")], to=TensorProto.INT32),
        helper.make_node("Gather", [words, inner("numbers")], [inner("runs")]),
        helper.make_node("Shape", [ids], [inner("places")]),
        helper.make_node("Concat", [inner("places"), row], [inner("shape")], axis=0),
        helper.make_node("Reshape", [inner("runs"), inner("shape")], [inner("flat")]),
        helper.make_node("Gather", [scale, ids], [inner("scale")]),
        helper.make_node("Mul", [inner("flat"), inner("scale")], [result], name=node.name),
    ]
