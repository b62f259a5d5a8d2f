"""A decoder taken apart between its layers, and put together again with the caches of those that are left.

As it is written (toolkit.compress.sources.decoder_graph) a sum and the norm behind it are one operator, so that nowhere
one tensor is all that goes from a layer to the next, and keys and values of every layer come in and leave.
"""

from __future__ import annotations

from collections.abc import Iterator

import onnx
from onnx import helper

from toolkit.compress.nodes import RUNTIME
from toolkit.compress.serialise import serialise
from toolkit.compress.weights import opened
from toolkit.runtime.slots import PAST, PRESENT

__all__ = ["generates", "joined", "parted"]

ATTENTION = "GroupQueryAttention"
_NORMS = {
    "SkipSimplifiedLayerNormalization": "SimplifiedLayerNormalization",
    "SkipLayerNormalization": "LayerNormalization",
}
_JOINED = {norm: skip for skip, norm in _NORMS.items()}
_SUM = ".parted"  # ends the name of a sum that was one operator with its norm


def generates(model: onnx.ModelProto) -> bool:
    """Whether keys and values of layers are among the inputs."""
    return any(value.name.startswith(PAST) for value in model.graph.input)


def parted(model: bytes, kind: str) -> bytes:
    """The decoder with sums and norms apart, which hands out logits alone and takes the caches as ever. It computes the
    same. Raises CompressionError "step_failed"."""
    graph = opened(model, kind)
    nodes = [part for node in graph.graph.node for part in _apart(node)]
    outputs = [value for value in graph.graph.output if not value.name.startswith(PRESENT)]
    return _written(graph, nodes, list(graph.graph.input), outputs)


def joined(model: bytes, whole: bytes, kind: str) -> bytes:
    """The decoder that some layers of `parted` are missing in, of the decoder that was `whole`: sums and norms are one
    operator again, and the caches are those of the layers that are left, counted anew. Raises CompressionError
    "step_failed"."""
    graph, before = opened(model, kind), opened(whole, kind)
    sums = {node.output[0]: node for node in graph.graph.node if node.name.endswith(_SUM)}
    normed = {node.input[0] for node in graph.graph.node if node.op_type in _JOINED and node.input[0] in sums}
    nodes = [
        _together(node, sums) if node.op_type in _JOINED and node.input[0] in sums else node
        for node in graph.graph.node
        if node.output[0] not in normed
    ]
    inputs = [value for value in graph.graph.input if not value.name.startswith(PAST)]
    outputs = list(graph.graph.output)
    kinds = ("key", "value")
    caches = {value.name: value for value in (*before.graph.input, *before.graph.output)}
    for number, node in enumerate(node for node in nodes if node.op_type == ATTENTION):
        for place, part in enumerate(kinds):
            for names, at, start, into in (
                (node.input, 3 + place, PAST, inputs),
                (node.output, 1 + place, PRESENT, outputs),
            ):
                value = onnx.ValueInfoProto()
                value.CopyFrom(caches[names[at]])
                value.name = names[at] = f"{start}{number}.{part}"
                into.append(value)
    return _written(graph, nodes, inputs, outputs)


def _apart(node: onnx.NodeProto) -> Iterator[onnx.NodeProto]:
    """Of a sum and its norm the two, of another node itself."""
    total = node.output[3] if len(node.output) > 3 else ""
    if node.domain != RUNTIME or node.op_type not in _NORMS or not total:
        yield node
        return
    hidden, added, *weights = node.input
    epsilon = next(attribute.f for attribute in node.attribute if attribute.name == "epsilon")
    yield helper.make_node("Add", [hidden, added], [total], name=f"{total}{_SUM}")
    yield helper.make_node(
        _NORMS[node.op_type], [total, *weights], node.output[:1], name=node.name, axis=-1, epsilon=epsilon, stash_type=1
    )


def _together(norm: onnx.NodeProto, sums: dict[str, onnx.NodeProto]) -> onnx.NodeProto:
    """A norm with the sum before it."""
    total, *weights = norm.input
    epsilon = next(attribute.f for attribute in norm.attribute if attribute.name == "epsilon")
    return helper.make_node(
        _JOINED[norm.op_type],
        [*sums[total].input, *weights],
        [norm.output[0], "", "", total],
        name=norm.name,
        domain=RUNTIME,
        epsilon=epsilon,
    )


def _written(
    model: onnx.ModelProto,
    nodes: list[onnx.NodeProto],
    inputs: list[onnx.ValueInfoProto],
    outputs: list[onnx.ValueInfoProto],
) -> bytes:
    graph = model.graph
    kept = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    given = [[onnx.ValueInfoProto.FromString(one.SerializeToString()) for one in some] for some in (inputs, outputs)]
    for field, values in ((graph.node, kept), (graph.input, given[0]), (graph.output, given[1])):
        del field[:]
        field.extend(values)
    return serialise(model)
