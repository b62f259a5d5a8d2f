"""The layers of a deep model: found as what repeats between the tensors that everything goes through."""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import onnx
from onnx import TensorProto

from toolkit.compress.layers import Graph

__all__ = ["Span", "spans"]

_ATTENDS = frozenset({"Attention", "GroupQueryAttention", "MultiHeadAttention", "Softmax"})
_COUNTING = frozenset({"Shape", "Size"})  # what comes out of them is no content


class Span(NamedTuple):
    """A layer: the tensors that it takes and gives, (batch, tokens, channels) both. What else it takes, such as a mask,
    is the same for every layer. `name` is that of the first node in it whose weights are constant."""

    name: str
    start: str
    end: str


def spans(graph: Graph) -> list[Span]:
    """The layers of an encoder, or of a decoder that was taken apart (toolkit.compress.caches): each an attention with
    all that follows up to the next. Empty where there are not two, or one is not like the others."""
    cuts, between = _cuts(graph)
    attending = [number for number, nodes in enumerate(between) if any(node.op_type in _ATTENDS for node in nodes)]
    apart = {after - before for before, after in pairwise(attending)}
    if len(apart) != 1 or attending[-1] + (period := apart.pop()) >= len(cuts):
        return []
    layers = {layer.name for layer in graph.layers}
    found = []
    for first in attending:
        inside = [node.name for nodes in between[first : first + period] for node in nodes if node.name in layers]
        if not inside:
            return []
        found.append(Span(inside[0], cuts[first], cuts[first + period]))
    return found


def _cuts(graph: Graph) -> tuple[list[str], list[list[onnx.NodeProto]]]:
    """The tensors that everything goes through that comes from the content, in their order, and the nodes from each to
    the next."""
    start = _content(graph)
    if start is None:
        return [], []
    waiting = {start: _uses(graph, start)}  # what is still to be used, and how often
    reached, cuts, between = {start}, [start], [list[onnx.NodeProto]()]
    for node in graph.model.graph.node:
        taken = reached.intersection(node.input)
        if not taken or node.op_type in _COUNTING:
            continue
        between[-1].append(node)
        for name in taken:
            waiting[name] -= 1
        reached.update(node.output)
        waiting |= {name: _uses(graph, name) for name in node.output}
        waiting = {name: uses for name, uses in waiting.items() if uses > 0}
        if len(waiting) == 1 and (cut := next(iter(waiting))) != cuts[-1]:
            cuts.append(cut)
            between.append([])
    return cuts, between


def _content(graph: Graph) -> str | None:
    """Where the content comes in: what is looked up in the largest table by an input, or an input of floats."""
    inputs = {value.name: value.type.tensor_type for value in graph.model.graph.input}
    looked = []
    for node in graph.model.graph.node:
        table = graph.constant(node.input[0]) if node.op_type == "Gather" else None
        if table is not None and table.ndim == 2 and table.dtype.kind == "f" and node.input[1] in inputs:
            looked.append((len(table), node.output[0]))
    if looked:
        return str(max(looked)[1])
    floats = [name for name, kind in inputs.items() if kind.elem_type == TensorProto.FLOAT and len(kind.shape.dim) > 2]
    return floats[0] if len(floats) == 1 else None


def _uses(graph: Graph, name: str) -> float:
    """How many nodes use the content of a tensor; without end, where it leaves the graph."""
    users = graph.users(name)
    if users is None:
        return float("inf")
    return len({user.output[0] for user in users if user.op_type not in _COUNTING})
