"""Float layers and tables of a graph, replaced by the forms for which ONNX Runtime has fast integer kernels."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
import onnx
from onnx import TensorProto, helper

from toolkit.compress.grid import Integers, Scales, grid, integers
from toolkit.compress.layers import RUNTIME, Graph, Layer
from toolkit.compress.ranges import Affine

__all__ = ["IntegerLayers"]


class IntegerLayers:
    """Puts integers into a Graph, which is not to be changed in other ways afterwards."""

    def __init__(self, graph: Graph, *, per_channel: bool, scales: Scales) -> None:
        self._graph = graph
        self._per_channel = per_channel
        self._scales: Scales = scales
        # a tensor to its integers, their scale and their zero
        self._taken: dict[str, tuple[str, str, str]] = {}

    def linear(
        self, layers: Collection[Layer], ranges: Mapping[str, Affine], bits: int, known: Mapping[str, Integers] = {}
    ) -> None:
        """MatMul and Gemm to int8 weights and unsigned activations of 8 or 16 bits; what comes out is a float.

        With 8 bits it is one kernel that adds the bias too. There is no kernel for 16 bits: the weights are made
        floats in each run, which keeps the size and costs the speed. What is `known` by the name of a layer are its
        integers; others are found.
        """
        for layer in layers:
            node, inputs = layer.node, layer.input
            if not self.takes(layer):
                self._graph.left.append(f"{layer.name}: its bias is no constant vector")
                continue
            first = [] if inputs in self._taken else [self._quantise(inputs, ranges[inputs], bits)]
            whole, scale, zero = self._taken[inputs]
            matrix = self._graph.matrix(layer)
            on = known.get(layer.name) or integers(matrix, scales=self._scales, per_channel=self._per_channel)
            name = f"{node.output[0]}.weight"
            numbers = np.ascontiguousarray(on.numbers[0, :, :, 0].T.astype(np.int8))
            weights = self._graph.add(name, numbers)
            scales = self._graph.add(
                f"{name}_scale", on.scale.reshape(-1) if self._per_channel else on.scale.reshape(())
            )
            bias, result, last = self._bias(layer)
            if bits == 8:
                given = [whole, weights, scale, scales, zero, "", bias]
                made = [
                    helper.make_node(
                        "MatMulIntegerToFloat",
                        given if bias else given[:5],
                        [result],
                        name=node.name,
                        domain=RUNTIME,
                    )
                ]
            else:
                dequantised, product = f"{node.output[0]}.input", result if not bias else f"{result}.product"
                made = [
                    helper.make_node("DequantizeLinear", [whole, scale, zero], [dequantised], domain=RUNTIME),
                    helper.make_node("DequantizeLinear", [weights, scales], [f"{name}_float"], axis=1),
                    helper.make_node("MatMul", [dequantised, f"{name}_float"], [product], name=node.name),
                    *([helper.make_node("Add", [product, bias], [result])] if bias else []),
                ]
            if last is node:
                self._graph.replace(node, *first, *made)
            else:
                self._graph.replace(node, *first)
                self._graph.replace(last, *made)

    def tables(self, exclude: Collection[str]) -> None:
        """Tables of embeddings to int8, with one scale for each row, or for all of them."""
        for name, users in self._graph.tables().items():
            if any(node.name in exclude for node in users):
                continue
            rows = self._graph.rows(name)[None, :, :, None]
            on = grid(rows, per_channel=self._per_channel, seven_bits=False)
            whole = self._graph.add(f"{name}.rows", on.nearest(rows)[0, :, :, 0].astype(np.int8))
            scale = self._graph.add(f"{name}.scale", on.scale.reshape((-1, 1) if self._per_channel else ()))
            for node in users:
                self._graph.replace(node, *self._lookup(node, whole, scale))

    def takes(self, layer: Layer) -> bool:
        """Whether its bias, if there is one, is a constant vector."""
        if layer.node.op_type == "MatMul" or len(layer.node.input) < 3 or not layer.node.input[2]:
            return True
        bias = self._graph.constant(layer.node.input[2])
        return bias is not None and bias.shape == (self._graph.matrix(layer).shape[1],)

    def _quantise(self, name: str, found: Affine, bits: int) -> onnx.NodeProto:
        scale = self._graph.add(f"{name}.scale", np.array(found.scale))
        zero = self._graph.add(f"{name}.zero", np.array(found.zero, np.uint8 if bits == 8 else np.uint16))
        self._taken[name] = f"{name}.integers", scale, zero
        # ONNX has no 16 bits for this operator before opset 21
        domain = "" if bits == 8 else RUNTIME
        return helper.make_node("QuantizeLinear", [name, scale, zero], [f"{name}.integers"], domain=domain)

    def _bias(self, layer: Layer) -> tuple[str, str, onnx.NodeProto]:
        """The constant vector that is added to what a layer gives, or "", the name of the sum, and its node."""
        node = layer.node
        if node.op_type == "Gemm":
            return (node.input[2] if len(node.input) > 2 else "", node.output[0], node)
        users = self._graph.users(node.output[0])
        if users is not None and len(users) == 1 and users[0].op_type == "Add":
            add = users[0]
            other = add.input[1 - list(add.input).index(node.output[0])]
            bias = self._graph.constant(other)
            if bias is not None and bias.shape == (self._graph.matrix(layer).shape[1],):
                return other, add.output[0], add
        return "", node.output[0], node

    def _lookup(self, node: onnx.NodeProto, rows: str, scale: str) -> list[onnx.NodeProto]:
        result = node.output[0]
        gather = helper.make_node("Gather", [rows, node.input[1]], [f"{result}.rows"], name=node.name)
        if not self._per_channel:
            return [gather, helper.make_node("DequantizeLinear", [f"{result}.rows", scale], [result])]
        return [
            gather,
            helper.make_node("Gather", [scale, node.input[1]], [f"{result}.scales"]),
            helper.make_node("Cast", [f"{result}.rows"], [f"{result}.numbers"], to=TensorProto.FLOAT),
            helper.make_node("Mul", [f"{result}.numbers", f"{result}.scales"], [result]),
        ]
