"""A float ONNX graph as a module of torch, whose weights are those of the graph, by their names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Self

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from torch import nn

from toolkit.train.decoder_operators import DECODER_OPERATORS, simplified_norm
from toolkit.train.device import PROCESSOR
from toolkit.train.errors import TrainingError
from toolkit.train.operators import OPERATORS, Operator

__all__ = ["Network", "as_tensors"]

Tensor = torch.Tensor

RUNTIME = "com.microsoft"
# by domain and name. The runtime has one of its operators in the domain of ONNX
_KNOWN: Mapping[tuple[str, str], Operator] = {
    **{("", name): operator for name, operator in OPERATORS.items()},
    **{(RUNTIME, name): operator for name, operator in DECODER_OPERATORS.items()},
    ("", "SimplifiedLayerNormalization"): simplified_norm,
}

# where a constant is a weight: the operators, and which of their inputs. Tables of embeddings stay what they are: a few
# hundred texts touch few of their rows.
_LEARNED: Mapping[str, tuple[int, ...]] = {
    "Add": (0, 1),
    "Conv": (1, 2),
    "Gemm": (1, 2),
    "LayerNormalization": (1, 2),
    "MatMul": (0, 1),
    "SimplifiedLayerNormalization": (1,),
    "SkipLayerNormalization": (2, 3, 4),
    "SkipSimplifiedLayerNormalization": (2, 3),
}
_NORMALISING = {
    "LayerNormalization",
    "SimplifiedLayerNormalization",
    "SkipLayerNormalization",
    "SkipSimplifiedLayerNormalization",
}


class Network(nn.Module):
    """Runs a graph operator by operator. `names` are the inputs, `outputs` what leaves the graph, and `normalised` what
    its layer normalisations give: the hidden states of a transformer.

    A weight of a matrix that is zero stays zero, so that what a pruning took away is not learned again.
    """

    def __init__(self, model: bytes, *, learns: bool) -> None:
        """Raises TrainingError "train_operator" for an operator that is not known, "train_weights" where it `learns`
        and there is nothing to."""
        super().__init__()
        graph = onnx.load_from_string(model).graph
        self.nodes = [(node, _attributes(node)) for node in graph.node]
        unknown = {node.op_type for node in graph.node if _key(node) not in _KNOWN}
        if unknown:
            raise TrainingError("train_operator", f"not known in training: {', '.join(sorted(unknown))}")
        self.names = tuple(value.name for value in graph.input)
        self.outputs = tuple(value.name for value in graph.output)
        self.normalised = tuple(node.output[0] for node in graph.node if node.op_type in _NORMALISING)
        self._last = _last_uses(graph)
        self._constants: dict[str, Tensor] = {}
        self._places: dict[str, str] = {}
        weights = _weights(graph) if learns else set()
        for tensor in graph.initializer:
            value = torch.from_numpy(numpy_helper.to_array(tensor).copy())
            if tensor.name in weights and value.is_floating_point() and value.numel() > 1:
                place = f"weight_{len(self._places)}"  # a name of torch has no dots
                self._places[tensor.name] = place
                self.register_parameter(place, nn.Parameter(value))
                if value.ndim > 1 and bool((value == 0).any()):
                    self.register_buffer(f"{place}_kept", value != 0, persistent=False)
            else:
                self._constants[tensor.name] = value
        if learns and not self._places:
            raise TrainingError("train_weights", "no layer has weights in floats")

    def forward(self, feeds: Mapping[str, Tensor], wanted: tuple[str, ...]) -> list[Tensor]:
        """The tensors of some names, for inputs by name. Raises TrainingError "train_operator" for a way of using an
        operator that is not known."""
        values = {**self._constants, **{name: self._weight(name) for name in self._places}}
        values |= {name: self._made(name, feeds[name]) for name in self.names}
        kept = {*wanted, *self._constants, *self._places}
        for number, (node, attributes) in enumerate(self.nodes):
            inputs = self._inputs(node, values)
            try:
                made = _KNOWN[_key(node)](attributes, *inputs)
            # an attribute, a type or a number of inputs that the function was not written for
            except (NotImplementedError, KeyError, TypeError) as error:
                told = f"{node.name or node.output[0]}: {node.op_type} with {sorted(attributes)} ({error})"
                raise TrainingError("train_operator", f"not known in training: {told}") from None
            if not node.input:  # a constant of the graph
                made = made.to(next(iter(feeds.values())).device)
            pairs = zip(node.output, made if isinstance(made, tuple) else (made,), strict=False)
            values.update((name, self._made(name, value)) for name, value in pairs)
            for name in self._last[number]:
                if name not in kept:
                    values.pop(name, None)
        return [values[name] for name in wanted]

    def weights(self) -> dict[str, NDArray[Any]]:
        """What was learned, by the names of constants of the graph."""
        return {name: self._kept(name).detach().cpu().numpy().copy() for name in self._places}

    def _apply(self, function: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """What moves weights to a device takes the constants along."""
        super()._apply(function, recurse)  # type: ignore[no-untyped-call]  # torch has no types for it
        self._constants = {name: function(value) for name, value in self._constants.items()}
        return self

    def _inputs(self, node: onnx.NodeProto, values: Mapping[str, Tensor]) -> list[Tensor | None]:
        """What a node takes."""
        return [values[name] if name else None for name in node.input]

    def _made(self, name: str, value: Tensor) -> Tensor:
        """What other nodes take of a tensor that came in, or was made."""
        return value

    def _weight(self, name: str) -> Tensor:
        """What the graph computes with."""
        return self._kept(name)

    def _kept(self, name: str) -> Tensor:
        place = self._places[name]
        weight: Tensor = getattr(self, place)
        kept: Tensor | None = getattr(self, f"{place}_kept", None)
        return weight if kept is None else weight * kept


def _key(node: onnx.NodeProto) -> tuple[str, str]:
    return "" if node.domain == "ai.onnx" else node.domain, node.op_type


def _attributes(node: onnx.NodeProto) -> dict[str, Any]:
    return {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}


def _weights(graph: onnx.GraphProto) -> set[str]:
    """The constants that are weights and nothing else."""
    found: set[str] = set()
    other: set[str] = {value.name for value in graph.output}
    for node in graph.node:
        for index, name in enumerate(node.input):
            (found if index in _LEARNED.get(node.op_type, ()) else other).add(name)
    return found - other


def _last_uses(graph: onnx.GraphProto) -> list[list[str]]:
    """For each node the tensors that no later one uses, so that memory does not grow with the depth of a teacher."""
    last: dict[str, int] = {}
    for number, node in enumerate(graph.node):
        for name in (*node.input, *node.output):
            last[name] = number
    uses: list[list[str]] = [[] for _ in graph.node]
    for name, number in last.items():
        uses[number].append(name)
    return uses


def as_tensors(feeds: Mapping[str, NDArray[Any]], device: torch.device = PROCESSOR) -> dict[str, Tensor]:
    """Inputs as torch takes them, on a device."""
    return {name: torch.from_numpy(np.ascontiguousarray(value)).to(device) for name, value in feeds.items()}
