"""Input channels of linear layers divided where their scale comes from, and the weights that take them multiplied."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from toolkit.compress.channels import divide, multiply_inputs, origin
from toolkit.compress.layers import Graph, Layer

__all__ = ["by_input", "rescale"]


def by_input(graph: Graph) -> dict[str, list[Layer]]:
    """The linear layers by the name of what they take. Raises CompressionError "step_failed" where there is none."""
    groups: dict[str, list[Layer]] = {}
    for layer in graph.layers:
        if layer.linear:
            groups.setdefault(layer.input, []).append(layer)
    if not groups:
        raise graph.failed("the graph has no linear layer whose weights are constant floats")
    return groups


def rescale(graph: Graph, layers: Sequence[Layer], factor: NDArray[np.float32], *, insert: bool) -> None:
    """Divide the input that layers share by a vector (channels,), and multiply their weights by it: where its scale
    comes from, if nothing else uses it; else by a Mul of its own, if `insert`, or not at all, and they are `left`."""
    users = graph.users(layers[0].input)
    ours = users is not None and all(any(user is layer.node for layer in layers) for user in users)
    found = origin(graph, layers[0].input, -1, len(factor)) if ours else None
    if found is not None:
        divide(graph, found, factor)
    elif insert:
        graph.multiply(layers, np.reciprocal(factor))
    else:
        graph.left.extend(f"{layer.name}: its input cannot be divided without a Mul" for layer in layers)
        return
    for layer in layers:
        multiply_inputs(graph, layer, factor)
