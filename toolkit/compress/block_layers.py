"""Linear layers whose weights are blocks of a few bits, as the runtime multiplies them: MatMulNBits."""

from __future__ import annotations

from typing import Literal

from onnx import helper

from toolkit.compress.blocks import Bits, Blocks
from toolkit.compress.layers import RUNTIME, Graph, Layer

__all__ = ["Compute", "in_blocks", "linear_layers"]

# int8: the kernel rounds the activations of each block too, which is faster
Compute = Literal["float32", "int8"]


def linear_layers(graph: Graph, exclude: tuple[str, ...]) -> list[Layer]:
    """The layers that can be put in blocks. Raises CompressionError "step_failed" where there is none, or no node has
    a name that is excluded."""
    graph.known(exclude)
    layers = [layer for layer in graph.layers if layer.linear and layer.name not in exclude]
    if not layers:
        raise graph.failed("the graph has no linear layer whose weights are constant floats")
    return layers


def in_blocks(graph: Graph, layer: Layer, found: Blocks, *, bits: Bits, size: int, compute: Compute) -> None:
    """Let a layer have blocks of `size` for weights when the graph is finished."""
    node = layer.node
    outputs, inputs = graph.matrix(layer).shape[1:3]
    bias = node.input[2] if len(node.input) > 2 else ""
    weights = graph.add(f"{node.output[0]}.bits", found.packed)
    scale = graph.add(f"{node.output[0]}.scale", found.scale)
    zero = "" if found.zero is None else graph.add(f"{node.output[0]}.zero", found.zero)
    taken = [node.input[0], weights, scale, zero, "", bias]
    while not taken[-1]:
        taken.pop()
    made = helper.make_node(
        "MatMulNBits",
        taken,
        list(node.output),
        name=node.name,
        domain=RUNTIME,
        K=inputs,
        N=outputs,
        bits=bits,
        block_size=size,
        accuracy_level=4 if compute == "int8" else 1,
    )
    graph.replace(node, made)
