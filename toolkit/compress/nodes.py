"""An ONNX graph that a step changes: nodes and constants, read, put in the place of others, and written as a file."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from toolkit.compress.calibration import Calibration
from toolkit.compress.errors import CompressionError
from toolkit.compress.serialise import serialise
from toolkit.compress.step import StepReport
from toolkit.compress.weights import finished, floats_left, opened

__all__ = ["RUNTIME", "Nodes", "Shape"]

RUNTIME = "com.microsoft"  # the domain of the operators that ONNX Runtime adds

Shape = tuple[int | str, ...]


class Nodes:
    """An ONNX model that a step changes, from the file `before`. `left` takes what the step could not do, each with the
    reason."""

    def __init__(self, model: bytes, kind: str) -> None:
        """For a step called `kind`. Raises CompressionError "step_failed" for what is no model."""
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

    def failed(self, what: str) -> CompressionError:
        """The error for this step."""
        return CompressionError("step_failed", f"{self.kind}: {what}")

    @cached_property
    def digest(self) -> str:
        """The SHA-256 of the file that the graph was read from."""
        return hashlib.sha256(self.before).hexdigest()

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

    def assign(self, name: str, value: NDArray[Any]) -> None:
        """Give a constant another value of its shape, whoever uses it."""
        self._constants[name].CopyFrom(numpy_helper.from_array(value, name))

    def tables(self, least: int = 0, *, tied: bool = False) -> dict[str, list[onnx.NodeProto]]:
        """The tables of float rows, of `least` numbers or more, with the nodes that look rows up in them. One that
        something else uses too is `left`; with `tied` the products with all rows of a table, as a language model
        ends in, are among its nodes.
        """
        lookups = {node.input[0] for node in self.model.graph.node if node.op_type == "Gather"}
        found = {}
        for name in sorted(lookups):
            table, users = self.constant(name), self.users(name)
            if table is None or table.dtype != np.float32 or table.ndim != 2 or table.size < least:
                continue
            if users is None or not all(_by_row(node, name) or (tied and _by_all(node, name)) for node in users):
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
        return finished(
            self.kind,
            self.before,
            bare,
            (*self.left, *(floats_left(bare, self._added) if self._instead and not self._rewired else ())),
        )


def _by_row(node: onnx.NodeProto, table: str) -> bool:
    along = [attribute.i for attribute in node.attribute if attribute.name == "axis"]
    return node.op_type == "Gather" and node.input[0] == table and along in ([], [0])


def _by_all(node: onnx.NodeProto, table: str) -> bool:
    """Whether a node multiplies its first input by all rows of a table, and does nothing else."""
    attributes = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    product = (node.domain, node.op_type, list(node.input)[1:]) == (RUNTIME, "FusedMatMul", [table])
    return product and attributes.pop("alpha", 1.0) == 1 and {k: v for k, v in attributes.items() if v} == {"transB": 1}


def _needed(nodes: Sequence[onnx.NodeProto], wanted: set[str]) -> list[onnx.NodeProto]:
    """The nodes that some names come from, in their order."""
    kept = []
    for node in reversed(nodes):
        if not wanted.isdisjoint(node.output):
            kept.append(node)
            # an input that is left out has no name, and so has an output
            wanted = wanted.union(node.input, _used_inside(node)) - {""}
    return kept[::-1]


def _used_inside(node: onnx.NodeProto) -> Iterator[str]:
    """What the branches of an If or the body of a Loop may use from outside."""
    for attribute in node.attribute:
        for graph in (attribute.g, *attribute.graphs):
            for inner in graph.node:
                yield from inner.input
                yield from _used_inside(inner)
            yield from (value.name for value in graph.output)
