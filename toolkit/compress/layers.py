"""The layers of a float ONNX graph: matrices that are read and written in one form, whichever operator holds them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from msgspec.structs import replace
from numpy.typing import NDArray
from onnx import TensorProto, helper

from toolkit.compress.nodes import RUNTIME, Nodes
from toolkit.compress.step import StepReport

__all__ = ["RUNTIME", "Graph", "Layer", "Matrix"]

# (groups, outputs of a group, inputs of a group, positions of the kernel); only a convolution has more than one group
# or more than one position
Matrix = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Layer:
    """A MatMul, Gemm or Conv whose weights are constant floats that no other node uses.

    `rank` is that of the weights; `axis` is where the channels lie in what comes in and goes out, from the end.
    """

    node: onnx.NodeProto
    rank: int

    @property
    def groups(self) -> int:
        """Of a convolution; one for other layers."""
        found = [attribute.i for attribute in self.node.attribute if attribute.name == "group"]
        return int(found[0]) if found and not self.linear else 1

    @property
    def name(self) -> str:
        return str(self.node.name)

    @property
    def input(self) -> str:
        return str(self.node.input[0])

    @property
    def axis(self) -> int:
        return 1 - self.rank if self.node.op_type == "Conv" else -1

    @property
    def linear(self) -> bool:
        return self.node.op_type != "Conv"

    def rows(self, tensor: NDArray[Any]) -> NDArray[np.float32]:
        """What comes in or goes out as (positions, channels)."""
        return np.moveaxis(tensor, self.axis, -1).reshape(-1, tensor.shape[self.axis])


class Graph(Nodes):
    """A graph whose layers a step reads and changes, from the file `before`."""

    def __init__(self, model: bytes, kind: str, *, layers: bool = True) -> None:
        """For a step called `kind`. Raises CompressionError "step_failed": no model, or, for a step that works on
        `layers`, one without any.
        """
        super().__init__(model, kind)
        self.layers = tuple(layer for node in self.model.graph.node if (layer := self._layer(node)) is not None)
        self._shapes = {layer.name: self._shape(layer) for layer in self.layers}
        if layers and not self.layers:
            raise self.failed("the graph has no layer whose weights are constant floats")

    @property
    def convolves(self) -> bool:
        """Whether convolutions hold most of the weights of its layers."""
        sizes = {True: 0, False: 0}
        for layer in self.layers:
            sizes[layer.linear] += math.prod(self._constants[layer.node.input[1]].dims)
        return sizes[False] > sizes[True]

    def matrix(self, layer: Layer) -> Matrix:
        """The weights of a layer. Raises CompressionError "step_failed" where one is not finite."""
        weights = self.constant(layer.node.input[1])
        assert weights is not None  # noqa: S101 - it would be no layer
        if not np.isfinite(weights).all():
            raise self.failed(f"{layer.name} has weights that are not finite")
        if layer.linear:
            return (weights if _transposed(layer.node) else weights.T)[None, :, :, None]
        return weights.reshape(layer.groups, -1, weights.shape[1], math.prod(weights.shape[2:]))

    def write(self, layer: Layer, matrix: Matrix) -> None:
        """Give a layer other weights. Raises CompressionError "step_failed" where one is not finite."""
        if not np.isfinite(matrix).all():
            raise self.failed(f"{layer.name} would get weights that are not finite")
        self.put(layer.node, 1, self.laid(layer, matrix))

    def laid(self, layer: Layer, matrix: Matrix) -> NDArray[np.float32]:
        """A matrix as the operator of a layer has its weights; it may have other channels, and as many positions."""
        if not layer.linear:
            kernel = self._constants[layer.node.input[1]].dims[2:]
            laid = matrix.reshape(-1, matrix.shape[2], *kernel)
            return np.ascontiguousarray(laid, dtype=np.float32)
        flat = matrix[0, :, :, 0]
        return np.ascontiguousarray(flat if _transposed(layer.node) else flat.T, dtype=np.float32)

    def by_output(self, layer: Layer) -> bool:
        """Whether the operator of a linear layer has its weights as (outputs, inputs)."""
        return _transposed(layer.node)

    def shift(self, layer: Layer, vector: NDArray[np.float32]) -> None:
        """Add a vector (outputs,) to what a layer gives: to its bias, or as one of its own."""
        node = layer.node
        if node.op_type != "MatMul":
            bias = node.input[2] if len(node.input) > 2 else ""
            old = self.constant(bias)
            if old is not None or not bias:
                node.input.extend([""] * (3 - len(node.input)))
                self.put(node, 2, vector if old is None else (old + vector).astype(np.float32))
                return
        else:
            after = self.users(node.output[0])
            if after is not None and len(after) == 1 and after[0].op_type == "Add":
                index = 1 - list(after[0].input).index(node.output[0])
                old = self.constant(after[0].input[index])
                if old is not None and old.shape == vector.shape:
                    self.put(after[0], index, (old + vector).astype(np.float32))
                    return
        self._follow(node, vector.reshape(-1, *(1,) * (-layer.axis - 1)))

    def multiply(self, layers: Sequence[Layer], factor: NDArray[np.float32]) -> None:
        """Let layers that share their input take it times a vector (channels,), through a new node."""
        self._before(layers, "Mul", "factor", factor)

    def lead(self, layers: Sequence[Layer], matrix: NDArray[np.float32]) -> None:
        """Let linear layers that share their input take it through a new one with a matrix (outputs, inputs)."""
        if not np.isfinite(matrix).all():
            raise self.failed(f"{layers[0].name} would get weights that are not finite")
        led = Layer(self._before(layers, "MatMul", "weight", np.ascontiguousarray(matrix.T)), 2)
        self.layers += (led,)

    def finished(self) -> tuple[bytes, StepReport]:
        """See Nodes. The report tells the shapes of the layers that have another one now."""
        shapes = {
            layer.name: self._shape(layer)
            for layer in self.layers
            if layer.node.output[0] not in self._instead and self._shape(layer) != self._shapes.get(layer.name)
        }
        after, report = super().finished()
        return after, replace(report, shapes=shapes)

    def _shape(self, layer: Layer) -> tuple[int, int]:
        """(outputs, inputs); a convolution has as many inputs as a group of it."""
        dims = self._constants[layer.node.input[1]].dims
        return (dims[0], dims[1]) if not layer.linear or _transposed(layer.node) else (dims[1], dims[0])

    def _layer(self, node: onnx.NodeProto) -> Layer | None:
        if node.domain not in ("", "ai.onnx") or node.op_type not in ("MatMul", "Gemm", "Conv"):
            return None
        tensor = self._constants.get(node.input[1])
        if tensor is None or tensor.data_type != TensorProto.FLOAT or self.users(tensor.name) != [node]:
            return None
        rank = len(tensor.dims)
        attributes = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
        if node.op_type == "Conv":
            return Layer(node, rank)
        plain = not attributes.get("transA", 0) and attributes.get("alpha", 1.0) == attributes.get("beta", 1.0) == 1.0
        return Layer(node, rank) if rank == 2 and plain else None

    def _before(self, layers: Sequence[Layer], operator: str, what: str, value: NDArray[np.float32]) -> onnx.NodeProto:
        """Put a node with a constant between layers and the input that they share."""
        name = layers[0].input
        taken = f"{name}.{self.kind}"
        constant = self.add(f"{taken}.{what}", value)
        made = helper.make_node(operator, [name, constant], [taken], name=f"{taken}.{operator}")
        nodes = self.model.graph.node
        first = min(index for index, other in enumerate(nodes) if any(other is layer.node for layer in layers))
        nodes.insert(first, made)
        for layer in layers:
            layer.node.input[0] = taken
        put: onnx.NodeProto = nodes[first]
        return put

    def _follow(self, node: onnx.NodeProto, vector: NDArray[np.float32]) -> None:
        """Put an Add of a constant between a node and all that uses its result."""
        name, inner = node.output[0], f"{node.output[0]}.{self.kind}"
        added = helper.make_node("Add", [inner, self.add(f"{inner}.vector", vector)], [name], name=f"{inner}.Add")
        nodes = self.model.graph.node
        nodes.insert(next(index for index, other in enumerate(nodes) if other is node) + 1, added)
        node.output[0] = inner


def _transposed(node: onnx.NodeProto) -> bool:
    """Whether the weights lie as (outputs, inputs)."""
    return any(attribute.name == "transB" and attribute.i for attribute in node.attribute)
