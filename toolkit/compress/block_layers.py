"""Linear layers whose weights are blocks of a few bits, as the runtime multiplies them: MatMulNBits."""

from __future__ import annotations

from typing import Literal

import numpy as np
from onnx import NodeProto, helper

from toolkit.compress.blocks import Bits, Blocks
from toolkit.compress.layers import RUNTIME, Graph, Layer

__all__ = ["Compute", "InBlocks", "linear_layers"]

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


class InBlocks:
    """Layers of a graph that have blocks of `size` for weights when it is finished, told in the graph's order."""

    def __init__(self, graph: Graph, *, bits: Bits, size: int, compute: Compute) -> None:
        self._graph = graph
        self._bits = bits
        self._size = size
        self._level = 4 if compute == "int8" else 1
        self._ones: dict[int, str] = {}
        self._summed: dict[str, str] = {}

    def put(self, layer: Layer, found: Blocks) -> None:
        """Let a layer have the blocks of its weights (outputs, inputs)."""
        graph, node = self._graph, layer.node
        outputs, inputs = graph.matrix(layer).shape[1:3]
        bias = node.input[2] if len(node.input) > 2 else ""
        weights = graph.add(f"{node.output[0]}.bits", found.packed)
        scale = graph.add(f"{node.output[0]}.scale", found.scale)
        zero = "" if found.zero is None else graph.add(f"{node.output[0]}.zero", found.zero)
        before, given = self._with_sums(node.input[0], inputs) if found.sums else ([], node.input[0])
        taken = [given, weights, scale, zero, "", bias]
        while not taken[-1]:
            taken.pop()
        made = helper.make_node(
            "MatMulNBits",
            taken,
            list(node.output),
            name=node.name,
            domain=RUNTIME,
            # the kernel wants whole blocks before the sums; the weights that fill the last one up are met by no input
            K=-(-inputs // self._size) * self._size + found.sums if found.sums else inputs,
            N=outputs,
            bits=self._bits,
            block_size=self._size,
            accuracy_level=self._level,
        )
        graph.replace(node, *before, made)

    def _with_sums(self, name: str, channels: int) -> tuple[list[NodeProto], str]:
        """The nodes, and their output: what comes in, with zeros up to whole blocks, and the sum of each block.

        Layers that share an input share them. A product with ones sums blocks up whatever the rank is.
        """
        if name in self._summed:
            return [], self._summed[name]
        size = self._size
        blocks = -(-channels // size)
        if channels not in self._ones:
            # zeros first, where the last block is filled up, then for each block the channels that are in it
            rest = np.zeros((channels, blocks * size - channels), np.float32)
            ones = (np.arange(channels)[:, None] // size == np.arange(blocks)).astype(np.float32)
            self._ones[channels] = self._graph.add(f"block-sums.{channels}", np.concatenate([rest, ones], axis=1))
        sums, given = f"{name}.sums", f"{name}.with-sums"
        self._summed[name] = given
        return [
            helper.make_node("MatMul", [name, self._ones[channels]], [sums], name=sums),
            helper.make_node("Concat", [name, sums], [given], name=given, axis=-1),
        ], given
