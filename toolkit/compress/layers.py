"""The layers of a float ONNX graph: matrices that are read and written in one form, whichever operator holds them."""

from __future__ import annotations

import hashlib
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import onnx
from msgspec.structs import replace
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from toolkit.compress.calibration import Calibration
from toolkit.compress.errors import CompressionError
from toolkit.compress.serialise import serialise
from toolkit.compress.step import StepReport
from toolkit.compress.weights import finished, floats_left, opened

__all__ = ["RUNTIME", "Graph", "Layer", "Matrix", "Shape"]

RUNTIME = "com.microsoft"  # the domain of the operators that ONNX Runtime adds

# (groups, outputs of a group, inputs of a group, positions of the kernel); only a convolution has more than one group
# or more than one position
Matrix = NDArray[np.float32]
Shape = tuple[int | str, ...]


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


class Graph:
    """An ONNX model that a step changes, from the file `before`. `left` takes what the step could not do, each with the
    reason."""

    def __init__(self, model: bytes, kind: str, *, layers: bool = True) -> None:
        """For a step called `kind`. Raises CompressionError "step_failed": no model, or, for a step that works on
        `layers`, one without any.
        """
        self.kind = kind
        self.left: list[str] = []
        self.before = model
        self.model = opened(model, kind)
        graph = self.model.graph
        given = {value.name for value in graph.input}
        self._constants = {tensor.name: tensor for tensor in graph.initializer if tensor.name not in given}
        self._makers = {name: node for node in graph.node for name in node.output}
        self._users: dict[str, list[onnx.NodeProto]] = defaultdict(list)
        self._added: set[str] = set()
        # what comes in the place of the node that made a tensor
        self._instead: dict[str, Sequence[onnx.NodeProto]] = {}
        self._rewired = False
        # what leaves the graph, or is used inside of a branch or a loop, is never changed
        self._held = {value.name for value in graph.output}
        for node in graph.node:
            for name in node.input:
                self._users[name].append(node)
            self._held.update(_used_inside(node))
        self.layers = tuple(layer for node in graph.node if (layer := self._layer(node)) is not None)
        self._shapes = {layer.name: self._shape(layer) for layer in self.layers}
        if layers and not self.layers:
            raise self.failed("the graph has no layer whose weights are constant floats")

    def failed(self, what: str) -> CompressionError:
        """The error for this step."""
        return CompressionError("step_failed", f"{self.kind}: {what}")

    @cached_property
    def digest(self) -> str:
        """The SHA-256 of the file that the graph was read from."""
        return hashlib.sha256(self.before).hexdigest()

    @property
    def convolves(self) -> bool:
        """Whether convolutions hold most of the weights of its layers."""
        sizes = {True: 0, False: 0}
        for layer in self.layers:
            sizes[layer.linear] += math.prod(self._constants[layer.node.input[1]].dims)
        return sizes[False] > sizes[True]

    def known(self, nodes: Iterable[str]) -> None:
        """Raises CompressionError "step_failed" where no node has one of the names."""
        if unknown := set(nodes) - {node.name for node in self.model.graph.node}:
            raise self.failed(f"no node is called {', '.join(sorted(unknown))}")

    def maker(self, name: str) -> onnx.NodeProto | None:
        """The node that makes a tensor; None for inputs and constants."""
        return self._makers.get(name)

    def users(self, name: str) -> list[onnx.NodeProto] | None:
        """The nodes that use a tensor; None where it must stay as it is."""
        return None if name in self._held else self._users[name]

    def constant(self, name: str) -> NDArray[Any] | None:
        """The value of an initializer that no caller can override."""
        tensor = self._constants.get(name)
        return None if tensor is None else numpy_helper.to_array(tensor)

    def put(self, node: onnx.NodeProto, index: int, value: NDArray[Any]) -> None:
        """Give a node another constant; what else uses the old one keeps it."""
        name = node.input[index]
        tensor = self._constants.get(name)
        if tensor is not None and tuple(tensor.dims) != value.shape:
            del self.model.graph.value_info[:]  # the shapes that it tells may be others now
            self.__dict__.pop("shapes", None)
        if tensor is not None and self.users(name) == [node]:
            tensor.CopyFrom(numpy_helper.from_array(value, name))
            return
        if tensor is not None:
            self._users[name].remove(node)
        node.input[index] = self.add(f"{node.output[0]}.{self.kind}", value)
        self._users[node.input[index]].append(node)

    def tables(self, least: int = 0) -> dict[str, list[onnx.NodeProto]]:
        """The tables of float rows, of `least` numbers or more, with the nodes that look rows up in them. One that
        something else uses too is `left`.
        """
        lookups = {node.input[0] for node in self.model.graph.node if node.op_type == "Gather"}
        found = {}
        for name in sorted(lookups):
            table, users = self.constant(name), self.users(name)
            if table is None or table.dtype != np.float32 or table.ndim != 2 or table.size < least:
                continue
            if users is None or not all(_by_row(node, name) for node in users):
                self.left.append(f"{name}: a table that something else uses too")
            else:
                found[name] = users
        return found

    def rows(self, table: str) -> NDArray[np.float32]:
        """The rows of a table. Raises CompressionError "step_failed" where a number is not finite."""
        rows = self.constant(table)
        if rows is None or not np.isfinite(rows).all():
            raise self.failed(f"{table} has weights that are not finite")
        return rows

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

    def add(self, name: str, value: NDArray[Any]) -> str:
        """Keep a new constant; the name that it got."""
        while name in self._constants or name in self._makers:
            name += "_"
        self.model.graph.initializer.append(numpy_helper.from_array(value, name))
        self._constants[name] = self.model.graph.initializer[-1]
        self._added.add(name)
        return name

    def replace(self, node: onnx.NodeProto, *made: onnx.NodeProto) -> None:
        """Let other nodes, or none, come in the place of one when the graph is finished."""
        self._instead[node.output[0]] = made

    def rewire(self, node: onnx.NodeProto, *made: onnx.NodeProto) -> None:
        """As `replace`; what nobody needs any more then goes too."""
        self.replace(node, *made)
        self._rewired = True

    def watch(self, names: Sequence[str], data: Calibration) -> Iterator[dict[str, NDArray[Any]]]:
        """The values of float tensors inside the graph as it is now, batch by batch.

        Raises CompressionError "step_failed" where one is not finite, or there is no data.
        """
        if not len(data):
            raise self.failed("there is no calibration data")
        watched = onnx.ModelProto()
        watched.CopyFrom(self.model)
        del watched.graph.output[:]
        watched.graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names)
        for values in data.outputs(serialise(watched)):
            for name, value in values.items():
                if not np.isfinite(value).all():
                    raise self.failed(f"{name} is not finite for the calibration data")
            yield values

    @cached_property
    def shapes(self) -> dict[str, Shape]:
        """The shapes of tensors inside the graph, as far as they can be inferred."""
        try:
            graph = onnx.shape_inference.infer_shapes(self.model, data_prop=True).graph
        except Exception:  # noqa: BLE001 - inference raises a family of its own; a shape is never needed
            graph = self.model.graph
        return {
            value.name: tuple(dim.dim_param or int(dim.dim_value) for dim in value.type.tensor_type.shape.dim)
            for value in (*graph.input, *graph.value_info, *graph.output)
        }

    def finished(self) -> tuple[bytes, StepReport]:
        """The changed model, without constants that nothing uses any more, and what there is to report."""
        graph = self.model.graph
        shapes = {
            layer.name: self._shape(layer)
            for layer in self.layers
            if layer.node.output[0] not in self._instead and self._shape(layer) != self._shapes.get(layer.name)
        }
        nodes = [made for node in graph.node for made in self._instead.get(node.output[0], (node,))]
        if self._rewired:
            nodes = _needed(nodes, {value.name for value in graph.output})
        used = {name for node in nodes for name in node.input} | self._held | {value.name for value in graph.input}
        # what nothing uses any more is most of the model: it goes before anything is copied
        for index in reversed(range(len(graph.initializer))):
            if graph.initializer[index].name not in used:
                del graph.initializer[index]
        bare = self.model
        kept = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
        del bare.graph.node[:]
        bare.graph.node.extend(kept)
        if self._instead:
            del bare.graph.value_info[:]
        if any(node.domain == RUNTIME for node in nodes) and all(one.domain != RUNTIME for one in bare.opset_import):
            bare.opset_import.append(helper.make_opsetid(RUNTIME, 1))
        after, report = finished(
            self.kind,
            self.before,
            bare,
            (*self.left, *(floats_left(bare, self._added) if self._instead and not self._rewired else ())),
        )
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


def _by_row(node: onnx.NodeProto, table: str) -> bool:
    along = [attribute.i for attribute in node.attribute if attribute.name == "axis"]
    return node.op_type == "Gather" and node.input[0] == table and along in ([], [0])


def _transposed(node: onnx.NodeProto) -> bool:
    """Whether the weights lie as (outputs, inputs)."""
    return any(attribute.name == "transB" and attribute.i for attribute in node.attribute)


def _needed(nodes: Sequence[onnx.NodeProto], wanted: set[str]) -> list[onnx.NodeProto]:
    """The nodes that some names come from, in their order."""
    kept = []
    for node in reversed(nodes):
        if not wanted.isdisjoint(node.output):
            kept.append(node)
            wanted = wanted.union(node.input, _used_inside(node))
    return kept[::-1]


def _used_inside(node: onnx.NodeProto) -> Iterator[str]:
    """What the branches of an If or the body of a Loop may use from outside."""
    for attribute in node.attribute:
        for graph in (attribute.g, *attribute.graphs):
            for inner in graph.node:
                yield from inner.input
                yield from _used_inside(inner)
            yield from (value.name for value in graph.output)
