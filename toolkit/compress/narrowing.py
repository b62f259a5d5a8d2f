"""The residual streams of a graph turned and cut: what writes them, what normalises them, and what reads that."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from toolkit.compress.calibration import Calibration
from toolkit.compress.layers import Graph
from toolkit.compress.one_thread import one_thread
from toolkit.compress.rotation import Return, axes, normalised, returned
from toolkit.compress.statistics import Sums
from toolkit.compress.stream import Norm, Stream

__all__ = ["narrow"]

Numbers = NDArray[np.float64]


def narrow(
    graph: Graph, found: Sequence[Stream], counts: Sequence[int], data: Calibration
) -> dict[str, tuple[int, int]]:
    """Leave so many channels of each stream; the shapes of look-ups and of layers that are new.

    Raises CompressionError "step_failed" where there is no data.
    """
    turned = _turned(graph, found, counts, data)
    backs = _backs(graph, found, turned, data)
    reads = {
        norm.given: _read(graph, norm, back)
        for stream, ways in zip(found, backs, strict=True)
        for norm, back in zip(stream.norms, ways, strict=True)
    }
    made: dict[str, list[onnx.NodeProto]] = {given: [] for given in reads}
    shapes: dict[str, tuple[int, int]] = {}
    for stream in found:
        for norm in stream.norms:
            _read_anew(graph, norm.given, reads[norm.given])
    for stream, matrix in zip(found, turned, strict=True):
        for layer in stream.layers:
            weights = graph.matrix(layer)[0, :, :, 0]
            graph.write(layer, (matrix.T @ weights).astype(np.float32)[None, :, :, None])
        for table in stream.tables:
            shapes |= _table(graph, table, matrix)
        for place in stream.constants:
            graph.put(place.node, place.slot, _float(np.asarray(graph.constant(place.name)) @ matrix))
        for place in stream.shortcuts:
            given, name = place.name, f"{place.node.output[0]}.shortcut{place.slot}"
            read = reads[given]
            made[given] += _affine(graph, given, name, Return(read.matrix @ matrix, read.shift @ matrix))
            place.node.input[place.slot] = name
    added: list[onnx.NodeProto] = []
    for stream, matrix in zip(found, turned, strict=True):
        for norm in stream.norms:
            whole = _affine(graph, norm.given, norm.given, reads[norm.given])
            _normalise(graph, norm, matrix)
            graph.rewire(norm.node, norm.node, *made[norm.given], *whole)
            added += (node for node in (*made[norm.given], *whole) if node.op_type == "MatMul")
    for node in added:
        weights = np.asarray(graph.constant(node.input[1]))
        shapes[node.name] = weights.shape[1], weights.shape[0]
    return shapes


def _turned(graph: Graph, found: Sequence[Stream], counts: Sequence[int], data: Calibration) -> list[Numbers]:
    """The axes of each stream (d, D), from what its normalisations make of it."""
    sums = [Sums(len(np.asarray(graph.constant(stream.norms[0].node.input[1])))) for stream in found]
    with one_thread():
        for values in graph.watch(_taken(found), data):
            for stream, one in zip(found, sums, strict=True):
                for norm in stream.norms:
                    rows = _rows(values[norm.taken])
                    one.add(normalised(rows, norm.epsilon, rows.shape[1]).astype(np.float32))
    return [axes(one.moments().second, count) for one, count in zip(sums, counts, strict=True)]


def _backs(
    graph: Graph, found: Sequence[Stream], turned: Sequence[Numbers], data: Calibration
) -> list[tuple[Return, ...]]:
    """The way back of each normalisation of each stream; as it came where no channel goes."""
    sums = [[Sums(sum(matrix.shape)) for _ in stream.norms] for stream, matrix in zip(found, turned, strict=True)]
    with one_thread():
        for values in graph.watch(_taken(found), data):
            for stream, matrix, some in zip(found, turned, sums, strict=True):
                if matrix.shape[0] == matrix.shape[1]:
                    continue
                for norm, one in zip(stream.norms, some, strict=True):
                    rows = _rows(values[norm.taken])
                    now = normalised((rows @ matrix).astype(np.float32), norm.epsilon, len(matrix))
                    missed = normalised(rows, norm.epsilon, len(matrix)) - now @ matrix.T
                    one.add(np.hstack([now, missed]).astype(np.float32))
    return [
        tuple(
            Return(matrix.T, np.zeros(len(matrix)))
            if matrix.shape[0] == matrix.shape[1]
            else returned(matrix, one.moments())
            for one in some
        )
        for matrix, some in zip(turned, sums, strict=True)
    ]


def _taken(found: Sequence[Stream]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(norm.taken for stream in found for norm in stream.norms))


def _rows(values: NDArray[np.float32]) -> NDArray[np.float32]:
    return values.reshape(-1, values.shape[-1])


def _read(graph: Graph, norm: Norm, back: Return) -> Return:
    """With the scale and the shift that the normalisation had."""
    scale = np.asarray(graph.constant(norm.node.input[1]), np.float64)
    shift = np.zeros(len(scale))
    if len(norm.node.input) > 2 and norm.node.input[2]:
        own = graph.constant(norm.node.input[2])
        if own is None:
            raise graph.failed(f"{norm.node.name} has a shift that is no constant")
        shift = own.astype(np.float64)
    return Return(back.matrix * scale, back.shift * scale + shift)


def _read_anew(graph: Graph, given: str, read: Return) -> None:
    """Let the linear layers that take what a normalisation gives take what it will give."""
    for layer in [layer for layer in graph.layers if layer.linear and layer.input == given]:
        weights = graph.matrix(layer)[0, :, :, 0].astype(np.float64)
        graph.write(layer, _float(weights @ read.matrix.T)[None, :, :, None])
        graph.shift(layer, _float(weights @ read.shift))
        layer.node.input[0] = _inner(given)


def _table(graph: Graph, table: str, matrix: Numbers) -> dict[str, tuple[int, int]]:
    """A table in other axes, for all that look rows up in it; its shape, by their names."""
    rows = _float(graph.rows(table) @ matrix)
    name = graph.add(f"{table}.{graph.kind}", rows)
    users = []
    for node in graph.model.graph.node:
        if node.op_type == "Gather" and node.input[0] == table:
            node.input[0] = name
            users.append(node.name)
    return dict.fromkeys(users, (rows.shape[1], rows.shape[0]))


def _normalise(graph: Graph, norm: Norm, matrix: Numbers) -> None:
    """The normalisation of the narrower stream, as if it had all channels."""
    channels, count = matrix.shape
    node = norm.node
    graph.put(node, 1, np.full(count, np.sqrt(channels / count), np.float32))
    del node.input[2:]
    for attribute in [attribute for attribute in node.attribute if attribute.name == "epsilon"]:
        node.attribute.remove(attribute)
    node.attribute.append(helper.make_attribute("epsilon", norm.epsilon * channels / count))
    node.output[0] = _inner(norm.given)


def _affine(graph: Graph, given: str, name: str, read: Return) -> list[onnx.NodeProto]:
    """Nodes that make a tensor from what a normalisation gives now."""
    product = f"{name}.{graph.kind}.product"
    weights = graph.add(f"{name}.{graph.kind}.weight", _float(read.matrix))
    return [
        helper.make_node("MatMul", [_inner(given), weights], [product], name=product),
        helper.make_node(
            "Add", [product, graph.add(f"{name}.{graph.kind}.bias", _float(read.shift))], [name], name=f"{product}.sum"
        ),
    ]


def _inner(given: str) -> str:
    return f"{given}.sliced"


def _float(values: NDArray[np.generic]) -> NDArray[np.float32]:
    return np.ascontiguousarray(values, dtype=np.float32)
