"""Layers whose result is cut in equal parts, as gate and up of a decoder are: made one layer for each part."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto, helper

from toolkit.compress.layers import Graph

__all__ = ["parted"]


def parted(model: bytes, kind: str) -> bytes:
    """The same model with layers that stand apart, so that a step called `kind` can change each part by itself; the
    file as it was where there is nothing to part. Raises CompressionError "step_failed" for what is no model."""
    graph = Graph(model, kind)
    changed = False
    for split in graph.model.graph.node:
        found = _parts(graph, split) if split.op_type == "Split" else None
        if found is not None:
            product, added, weights, biases = found
            graph.replace(product)
            if added is not None:
                graph.replace(added)
            graph.replace(split, *_made(graph, product.input[0], split, weights, biases))
            changed = True
    return graph.finished()[0] if changed else model


def _parts(
    graph: Graph, split: NodeProto
) -> tuple[NodeProto, NodeProto | None, list[NDArray[np.float32]], list[NDArray[np.float32]]] | None:
    """The product that is split, what adds its bias, and the weights (inputs, outputs) and biases of each part; None
    where a part is not as wide as another, or something else has to do with it."""
    axis = [attribute.i for attribute in split.attribute if attribute.name == "axis"]
    sizes = graph.constant(split.input[1]) if len(split.input) > 1 else None
    if axis != [-1] or sizes is None or len(set(sizes.tolist())) != 1 or graph.users(split.input[0]) != [split]:
        return None
    product, added, bias = graph.maker(split.input[0]), None, None
    if product is not None and product.op_type == "Add":
        added, bias = product, graph.constant(product.input[1])
        product = graph.maker(added.input[0])
        if bias is None or bias.ndim != 1 or graph.users(added.input[0]) != [added]:
            return None
    if product is None or product.op_type != "MatMul" or all(layer.node is not product for layer in graph.layers):
        return None
    weights = graph.constant(product.input[1])
    assert weights is not None  # noqa: S101 - it would be no layer
    biases = [] if bias is None else np.split(bias, len(sizes))
    return product, added, np.split(weights, len(sizes), axis=1), biases


def _made(
    graph: Graph, taken: str, split: NodeProto, weights: list[NDArray[np.float32]], biases: list[NDArray[np.float32]]
) -> Iterator[NodeProto]:
    for number, (given, part) in enumerate(zip(split.output, weights, strict=True)):
        product = f"{given}.product" if biases else given
        weight = graph.add(f"{given}.weight", np.ascontiguousarray(part))
        yield helper.make_node("MatMul", [taken, weight], [product], name=given)
        if biases:
            bias = graph.add(f"{given}.bias", biases[number])
            yield helper.make_node("Add", [product, bias], [given], name=f"{given}.added")
