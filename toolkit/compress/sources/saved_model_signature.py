"""What the signature of a SavedModel takes and gives, read from a program that was checked and is not run."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any

from msgspec import Struct

from toolkit.compress.errors import SourceError
from toolkit.compress.quiet import quiet
from toolkit.compress.sources.tensorflow_graph import tensorflow
from toolkit.compress.sources.tensorflow_source import Shape, shaped
from toolkit.extras import needs

__all__ = ["SIGNATURE", "Signature", "signature_of"]

SIGNATURE = "serving_default"
MAX_NUMBERS = 475_000_000  # as FP32 what an ONNX file holds
MAX_CLASSES = 100_000
MAX_STEPS = 100
_CALLS = ("PartitionedCall", "StatefulPartitionedCall")


class Signature(Struct, frozen=True, kw_only=True):
    """`classes` counts them where the one output is a distribution over them by a softmax at the end, and is else 0;
    `parameters` counts the numbers in the variables that the answer is made of."""

    inputs: dict[str, Shape]
    outputs: tuple[str, ...]
    classes: int
    parameters: int
    convolves: bool


def signature_of(program: bytes) -> Signature:
    """Of the content of a saved_model.pb that was checked.

    Raises SourceError: source_unsupported, source_too_large; MissingExtra.
    """
    tensorflow()
    with quiet(), needs("tensorflow"):
        from tensorflow.core.framework.types_pb2 import DT_FLOAT
        from tensorflow.core.protobuf.saved_model_pb2 import SavedModel as Program
    [meta] = Program.FromString(program).meta_graphs
    if SIGNATURE not in meta.signature_def:
        raise SourceError("source_unsupported", f"the SavedModel has no signature {SIGNATURE!r}")
    signature = meta.signature_def[SIGNATURE]
    for name, tensor in signature.inputs.items():
        if tensor.dtype != DT_FLOAT or tensor.tensor_shape.unknown_rank:
            raise SourceError("source_unsupported", f"the input {name[:80]!r} is no tensor of FP32")
    inputs = shaped({name: _shape(tensor.tensor_shape) for name, tensor in sorted(signature.inputs.items())})
    outputs = tuple(sorted(signature.outputs))
    # the names of outputs become those of the graph
    shaped(dict.fromkeys(outputs, (None,)))
    variables = {
        number: prod(max(dim.size, 0) for dim in node.variable.shape.dim)
        for number, node in enumerate(meta.object_graph_def.nodes)
        if node.WhichOneof("kind") == "variable"
    }
    if sum(variables.values()) > MAX_NUMBERS:
        raise SourceError("source_too_large", f"the variables would hold {sum(variables.values())} numbers")
    operations = {node.op for function in meta.graph_def.library.function for node in function.node_def}
    return Signature(
        inputs=inputs,
        outputs=outputs,
        classes=_classes(meta, signature) if len(outputs) == 1 else 0,
        parameters=sum(variables[number] for number in _bound(meta, signature) & variables.keys()),
        convolves=bool(operations & {"Conv2D", "DepthwiseConv2dNative"}),
    )


def _shape(shape: Any) -> Shape:
    return tuple(None if dim.size < 0 else int(dim.size) for dim in shape.dim)


def _bound(meta: Any, signature: Any) -> set[int]:
    """The numbers of the objects that the function behind the signature takes beside its inputs."""
    owners = {tensor.name.partition(":")[0] for tensor in signature.outputs.values()}
    called = {node.attr["f"].func.name for node in meta.graph_def.node if node.name in owners}
    functions = meta.object_graph_def.concrete_functions
    return {number for name in called if name in functions for number in functions[name].bound_inputs}


def _classes(meta: Any, signature: Any) -> int:
    [output] = signature.outputs.values()
    shape = _shape(output.tensor_shape)
    last = shape[1] if len(shape) == 2 else None
    if last is None or not 0 < last <= MAX_CLASSES:
        return 0
    functions = {function.signature.name: function for function in meta.graph_def.library.function}
    nodes = {node.name: node for node in meta.graph_def.node}
    return last if _from_softmax(output.name, nodes, functions) else 0


def _from_softmax(name: str, nodes: Mapping[str, Any], functions: Mapping[str, Any]) -> bool:
    """Whether a tensor is what a softmax gave, followed through what passes it on and into what is called."""
    for _ in range(MAX_STEPS):
        # "node:place" in the graph, "node:argument:place" in a function
        owner, _, place = name.partition(":")
        node = nodes.get(owner)
        if node is None or node.op == "Softmax":
            return node is not None
        if node.op == "Identity" and node.input:
            name = node.input[0]
        elif node.op in _CALLS and node.attr["f"].func.name in functions:
            called = functions[node.attr["f"].func.name]
            number = int(place.rpartition(":")[2] or 0)
            if number >= len(called.signature.output_arg):
                return False
            name = called.ret[called.signature.output_arg[number].name]
            nodes = {inner.name: inner for inner in called.node_def}
        else:
            return False
    return False
