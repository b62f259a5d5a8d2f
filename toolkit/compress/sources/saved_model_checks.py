"""What is held against a SavedModel before TensorFlow sees it: the operations in its graphs, and what would run when it
is loaded.

A SavedModel is a program (https://github.com/tensorflow/tensorflow/blob/master/SECURITY.md): its operations may read
and write files, open sockets and call Python. So only operations on a list are taken, those that compute an answer
from the input, and the walk follows the wire format, as TensorFlow must not be asked.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import prod

from toolkit.compress.errors import SourceError
from toolkit.runtime.wire import fields

__all__ = ["OPERATIONS", "check_graph", "check_saved"]

OPERATIONS = frozenset(
    (
        "Add",
        "AddN",
        "AddV2",
        "AvgPool",
        "BatchMatMulV2",
        "BatchToSpaceND",
        "BiasAdd",
        "Cast",
        "ConcatV2",
        "Const",
        "Conv2D",
        "DepthwiseConv2dNative",
        "DivNoNan",
        "Elu",
        "Erf",
        "Exp",
        "ExpandDims",
        "FusedBatchNorm",
        "FusedBatchNormV2",
        "FusedBatchNormV3",
        "GatherV2",
        "Identity",
        "IdentityN",
        "LeakyRelu",
        "LogSoftmax",
        "MatMul",
        "Max",
        "MaxPool",
        "Maximum",
        "Mean",
        "Min",
        "Minimum",
        "Mul",
        "Neg",
        "NoOp",
        "Pack",
        "Pad",
        "PadV2",
        "PartitionedCall",
        "Placeholder",
        "Pow",
        "Prod",
        "ReadVariableOp",
        "RealDiv",
        "Relu",
        "Relu6",
        "Reshape",
        "Rsqrt",
        "Selu",
        "Shape",
        "Sigmoid",
        "Slice",
        "Softmax",
        "Softplus",
        "Softsign",
        "SpaceToBatchND",
        "Split",
        "SplitV",
        "Sqrt",
        "Square",
        "SquaredDifference",
        "Squeeze",
        "StatefulPartitionedCall",
        "StopGradient",
        "StridedSlice",
        "Sub",
        "Sum",
        "Tanh",
        "Tile",
        "Transpose",
        "Unpack",
        "VarHandleOp",
        "VarIsInitializedOp",
    )
)
# what saves and restores the weights: in functions that nothing else calls, and that are never called here
_SAVING = frozenset(
    (
        "AssignVariableOp",
        "DisableCopyOnRead",
        "MergeV2Checkpoints",
        "RestoreV2",
        "SaveV2",
        "Select",
        "ShardedFilename",
        "StaticRegexFullMatch",
        "StringJoin",
    )
)
_CODE = ("PyFunc", "PyFuncStateless", "EagerPyFunc", "XlaLaunch", "Batch", "LoadLibrary")
_META, _GRAPH, _OBJECTS = 2, 2, 7  # SavedModel, MetaGraphDef
_ASSETS = 6
# fields of a SavedObject
_RUN_AT_LOAD = {
    5: "an asset, which is read when it is loaded",
    10: "a resource, which is made when it is loaded",
    11: "functions of its own that restore its weights",
    13: "an object that needs a class of its own",
    16: "a saver of its own",
}
MAX_DEPTH = 20
MAX_BYTES = 1_900_000_000  # as FP32: an ONNX file holds 2 GB


def check_saved(data: bytes) -> None:
    """The content of saved_model.pb. Raises SourceError: source_malformed, source_code, source_unsupported."""
    try:
        metas = [_message(value) for field, value in fields(memoryview(data)) if field == _META]
        if len(metas) != 1:
            raise SourceError("source_unsupported", f"the SavedModel has {len(metas)} graphs; one is taken in")
        parts = [(field, _message(value)) for field, value in fields(metas[0]) if field in (_GRAPH, _OBJECTS, _ASSETS)]
        if not any(field == _OBJECTS for field, _ in parts):
            raise SourceError("source_unsupported", "a SavedModel of TensorFlow 1: save it again with TensorFlow 2")
        if any(field == _ASSETS for field, _ in parts):
            raise SourceError("source_code", "the SavedModel has assets that are read when it is loaded")
        for field, part in parts:
            if field == _OBJECTS:
                _check_objects(part)
        _check_functions([part for field, part in parts if field == _GRAPH], saving=True)
    except ValueError as error:
        raise SourceError("source_malformed", f"saved_model.pb is no SavedModel: {str(error)[:100]}") from None


def check_graph(data: bytes) -> None:
    """A GraphDef that is about to run: the operations on the list and no others, not even to restore weights.

    Raises SourceError: source_malformed, source_code, source_unsupported.
    """
    try:
        _check_functions([memoryview(data)], saving=False)
    except ValueError as error:
        raise SourceError("source_malformed", f"the graph is none: {str(error)[:100]}") from None


def _check_functions(graphs: list[memoryview], *, saving: bool) -> None:
    bodies: dict[str, list[memoryview]] = {"": []}
    for graph in graphs:
        bodies[""] += _inside(graph, 1)
        for library in _inside(graph, 2):
            for function in _inside(library, 1):
                name = "".join(_text(part) for one in _inside(function, 1) for part in _inside(one, 1))
                if not name or name in bodies:
                    raise SourceError("source_malformed", "a function has no name, or that of another")
                if any(_text(key).startswith("api_") for entry in _inside(function, 5) for key in _inside(entry, 1)):
                    raise SourceError("source_code", f"the function {name[:80]!r} would be put in the place of others")
                bodies[name] = _inside(function, 3)
    if 4 * sum(_numbers(node) for nodes in bodies.values() for node in nodes) > MAX_BYTES:
        raise SourceError("source_too_large", "the constants of the graph would hold more than an ONNX file does")
    saves = {name for name, nodes in bodies.items() if any(_operation(node) in _SAVING for node in nodes)}
    for name, nodes in bodies.items():
        for node in nodes:
            operation = _operation(node)
            if operation not in OPERATIONS and not (saving and operation in _SAVING):
                _refuse(operation, bodies)
            # the outermost graph is not run: what is loaded are the functions that objects name
            if name and not saves.isdisjoint(_called(node)):
                raise SourceError("source_code", f"the function {name[:80]!r} saves or restores while it computes")


def _refuse(operation: str, bodies: Mapping[str, object]) -> None:
    if operation in bodies:
        raise SourceError("source_unsupported", "a function is called in the manner of TensorFlow 1")
    code = "source_code" if operation in _CODE or "File" in operation or operation in _SAVING else "source_unsupported"
    raise SourceError(code, f"the operation {operation[:80]!r} is not among those that only compute")


def _check_objects(graph: memoryview) -> None:
    """Nothing among the objects may run when they are loaded."""
    for node in _inside(graph, 1):
        for field, value in fields(node):
            if field in _RUN_AT_LOAD and (not isinstance(value, memoryview) or len(value) or field in (5, 10)):
                raise SourceError("source_code", f"the SavedModel has {_RUN_AT_LOAD[field]}")


def _operation(node: memoryview) -> str:
    return "".join(_text(part) for part in _inside(node, 2))


def _numbers(node: memoryview) -> int:
    """How many numbers the constants of a node hold by their shapes: one written number may stand for all of them."""
    values = [value for entry in _inside(node, 5) for value in _inside(entry, 2)]
    tensors = [tensor for value in values for part in (value, *_inside(value, 1)) for tensor in _inside(part, 8)]
    return sum(prod(_size(dim) for shape in _inside(one, 2) for dim in _inside(shape, 2)) for one in tensors)


def _size(dim: memoryview) -> int:
    return next((value for field, value in fields(dim) if field == 1 and isinstance(value, int)), 0)


def _called(node: memoryview) -> Iterator[str]:
    """The functions that the attributes of a node name."""
    for entry in _inside(node, 5):
        for value in _inside(entry, 2):
            yield from _functions(value, 0)


def _functions(attribute: memoryview, depth: int) -> Iterator[str]:
    if depth > MAX_DEPTH:
        raise ValueError("nested too deep")
    listed = [function for part in _inside(attribute, 1) for function in _inside(part, 9)]
    for function in (*_inside(attribute, 10), *listed):
        yield from map(_text, _inside(function, 1))
        for entry in _inside(function, 2):
            for value in _inside(entry, 2):
                yield from _functions(value, depth + 1)


def _inside(message: memoryview, number: int) -> list[memoryview]:
    return [_message(value) for field, value in fields(message) if field == number]


def _message(value: int | memoryview) -> memoryview:
    if not isinstance(value, memoryview):
        raise ValueError("a number stands where a message should")
    return value


def _text(value: memoryview) -> str:
    return bytes(value).decode("utf-8", errors="replace")
