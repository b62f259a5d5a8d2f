"""Tables of embeddings as the product of two of lower rank."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar

import numpy as np
from msgspec import Meta, Struct
from msgspec.structs import replace

from toolkit.compress.calibration import Calibration
from toolkit.compress.quiet import quiet
from toolkit.compress.step import FLOAT, FUSED, Form, StepReport
from toolkit.extras import needs

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from onnx import NodeProto

    from toolkit.compress.layers import Graph

__all__ = ["FactoriseTable"]


class FactoriseTable(
    Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="factorise-table"
):
    """Rows x channels become rows x rank and rank x channels; a row is looked up in the first and goes through the
    second. The share `keep` of the numbers of each table stays, with a rank that is a multiple of `multiple`.

    What is lost of a row counts as often as the row was looked up in the calibration data, and once more: no row is
    worth nothing. `least` is the size in numbers below which a table stays as it is. A table that something other than
    a look-up uses stays, and is named.

    Lan et al., "ALBERT: A Lite BERT for Self-supervised Learning of Language Representations", 2020, section 3.1, by a
    weighted SVD instead of training.
    """

    takes: ClassVar[frozenset[Form]] = frozenset({FLOAT, FUSED})
    gives: ClassVar[Form | None] = None
    calibrates: ClassVar[bool] = True

    keep: Annotated[float, Meta(gt=0, le=1)] = 0.7
    multiple: Annotated[int, Meta(ge=1, le=1024)] = 16
    least: Annotated[int, Meta(ge=0)] = 10_000

    def apply(self, model: bytes, data: Calibration) -> tuple[bytes, StepReport]:
        """See Step. Raises CompressionError where no table would become smaller, or there is no data."""
        with quiet(), needs("compress"):
            from toolkit.compress.layers import Graph
        graph = Graph(model, "factorise-table", layers=False)
        if not len(data):
            raise graph.failed("there is no calibration data")
        shapes: dict[str, tuple[int, int]] = {}
        for name, users in graph.tables(self.least).items():
            table = graph.rows(name)
            rows, channels = table.shape
            rank = int(self.keep * table.size / (rows + channels)) // self.multiple * self.multiple
            if not 0 < rank < channels:
                graph.left.append(f"{name}: a rank of {rank} for {rows} x {channels}")
                continue
            counts = _counts(graph, users, data, rows)
            shapes |= _split(graph, name, users, _axes(table, counts)[:, :rank])
        if not shapes:
            raise graph.failed("; ".join(["no table that only look-ups use becomes smaller", *graph.left[:3]]))
        after, report = graph.finished()
        return after, replace(report, shapes=shapes)


def _counts(graph: Graph, users: list[NodeProto], data: Calibration, rows: int) -> NDArray[np.float64]:
    """How often each row was looked up (rows,), and once more; where the numbers are no input, all alike (`left`)."""
    names = [node.input[1] for node in users]
    if not set(names) <= {value.name for value in graph.model.graph.input}:
        graph.left.append(f"{users[0].input[0]}: how often its rows are looked up is not known, all count alike")
        return np.ones(rows)
    counts = np.ones(rows)
    for feeds in data.feeds():
        for name in names:
            ids = np.asarray(feeds[name]).reshape(-1)
            if ids.min(initial=0) < -rows or ids.max(initial=0) >= rows:
                raise graph.failed(f"{name} looks up rows that are not there")
            counts += np.bincount(ids % rows, minlength=rows)
    return counts


def _axes(table: NDArray[np.float32], counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """The axes (channels, channels) along which the rows reach, by their counts, farthest first."""
    from toolkit.compress.one_thread import one_thread

    with one_thread():
        weighed = table * np.sqrt(counts / counts.sum()).astype(np.float32)[:, None]
        _, vectors = np.linalg.eigh((weighed.T @ weighed).astype(np.float64))
    return vectors[:, ::-1]


def _split(graph: Graph, name: str, users: list[NodeProto], axes: NDArray[np.float64]) -> dict[str, tuple[int, int]]:
    """Look rows up in a table in the axes, and bring them back; the shapes of both."""
    from onnx import helper

    narrow = (graph.rows(name) @ axes.astype(np.float32)).astype(np.float32)
    low = graph.add(f"{name}.rows", narrow)
    back = graph.add(f"{name}.axes", np.ascontiguousarray(axes.T, dtype=np.float32))
    shapes: dict[str, tuple[int, int]] = {}
    for node in users:
        between, product = f"{node.output[0]}.low", f"{node.name}.back"
        graph.rewire(
            node,
            helper.make_node("Gather", [low, node.input[1]], [between], name=node.name),
            helper.make_node("MatMul", [between, back], list(node.output), name=product),
        )
        shapes |= {node.name: (axes.shape[1], len(narrow)), product: axes.shape}
    return shapes
