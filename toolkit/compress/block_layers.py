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
# what comes out of these has the rank of what comes in first, or the highest of all
ALIKE = {"SimplifiedLayerNormalization", "SkipSimplifiedLayerNormalization", "Split", "Sigmoid", "Gelu"}
BROADCAST = {"Add", "Mul", "MatMul"}


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
        self._known: dict[tuple[object, ...], str] = {}  # constants that layers share
        self._summed: dict[str, str] = {}
        self._ranks: dict[str, int | None] = {}

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

        Layers that share an input share them.
        """
        if name in self._summed:
            return [], self._summed[name]
        sums, given = f"{name}.sums", f"{name}.with-sums"
        self._summed[name] = given
        rank = self._rank(name) if channels % self._size == 0 else None
        # where the rank is known, whole blocks are summed up where they lie: at 1,536 channels that takes a third of
        # the time of a product
        made = [self._product(name, sums, channels)] if rank is None else self._reduced(name, sums, channels, rank)
        return [*made, helper.make_node("Concat", [name, sums], [given], name=given, axis=-1)], given

    def _rank(self, name: str) -> int | None:
        """That of a tensor, as far as it is told or follows: the inference of ONNX knows no operator of the runtime."""
        if name not in self._ranks:
            self._ranks[name] = self._found(name)
        return self._ranks[name]

    def _found(self, name: str) -> int | None:
        if (constant := self._graph.constant(name)) is not None:
            return constant.ndim
        if shape := self._graph.shapes.get(name):
            return len(shape)
        if (node := self._graph.maker(name)) is None:
            return None
        if node.op_type == "GroupQueryAttention":
            return 3 if name == node.output[0] else None
        if node.op_type in ALIKE:
            return self._rank(node.input[0])
        # a vector would be multiplied by other rules
        ranks = [self._rank(one) or 0 for one in node.input] if node.op_type in BROADCAST else [0]
        return max(ranks) if min(ranks) > 1 else None

    def _reduced(self, name: str, sums: str, channels: int, rank: int) -> list[NodeProto]:
        """Blocks as an axis of their own, and the sums over it."""
        key = ("cut", channels, rank)
        if key not in self._known:
            # 0: as many as there are
            form = np.array([0] * (rank - 1) + [channels // self._size, self._size], np.int64)
            self._known[key] = self._graph.add(f"blocks.{channels}.{rank}", form)
        if ("last",) not in self._known:
            self._known["last",] = self._graph.add("blocks.last", np.array([-1], np.int64))
        apart = f"{name}.blocks"
        return [
            helper.make_node("Reshape", [name, self._known[key]], [apart], name=apart),
            helper.make_node("ReduceSum", [apart, self._known["last",]], [sums], name=sums, keepdims=0),
        ]

    def _product(self, name: str, sums: str, channels: int) -> NodeProto:
        """With ones, which sums blocks up whatever the rank is, and gives the zeros as well."""
        key = ("ones", channels)
        if key not in self._known:
            blocks = -(-channels // self._size)
            # zeros first, where the last block is filled up, then for each block the channels that are in it
            rest = np.zeros((channels, blocks * self._size - channels), np.float32)
            ones = (np.arange(channels)[:, None] // self._size == np.arange(blocks)).astype(np.float32)
            self._known[key] = self._graph.add(f"block-sums.{channels}", np.concatenate([rest, ones], axis=1))
        return helper.make_node("MatMul", [name, self._known[key]], [sums], name=sums)
