"""Look into an ONNX file without the onnx package: refuse tensors whose data lie in other files.

A path in a model file is hostile input: it may name any file of the host (onnx CVE-2024-5187 and its kin). A bundle
is one file, so a tensor that is not in it is refused before any runtime sees the model. The walk follows the
protobuf wire format and the message types of onnx.proto as far as tensors can hide in them.
"""

from __future__ import annotations

from collections.abc import Iterator

__all__ = ["fields", "holds_external_data"]

# message -> field number -> message: every way from a model to a tensor in onnx.proto
_TREE = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {},
}
_EXTERNAL_DATA, _DATA_LOCATION = 13, 14
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_MAX_DEPTH = 64


def holds_external_data(model: bytes) -> bool:
    """Whether any tensor of the model points outside the file. Raises ValueError when it is no ONNX protobuf."""
    return _walk(memoryview(model), "model", 0)


def _walk(message: memoryview, kind: str, depth: int) -> bool:
    if depth > _MAX_DEPTH:
        raise ValueError("nested too deep")
    inside = _TREE[kind]
    for field, value in fields(message):
        if kind == "tensor":
            if field == _EXTERNAL_DATA or (field == _DATA_LOCATION and value != 0):
                return True
        elif field in inside:
            if not isinstance(value, memoryview):
                raise ValueError(f"field {field} of a {kind} is no message")
            if _walk(value, inside[field], depth + 1):
                return True
    return False


def fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Number and value of each field of a protobuf message. Raises ValueError when it is none."""
    position = 0
    while position < len(message):
        tag, position = _varint(message, position)
        field, wire = tag >> 3, tag & 7
        if wire == _VARINT:
            value, position = _varint(message, position)
            yield field, value
            continue
        if wire == _BYTES:
            size, position = _varint(message, position)
        elif wire in (_FIXED64, _FIXED32):
            size = 8 if wire == _FIXED64 else 4
        else:
            raise ValueError(f"wire type {wire}")
        if position + size > len(message):
            raise ValueError("cut short")
        yield field, message[position : position + size]
        position += size


def _varint(message: memoryview, position: int) -> tuple[int, int]:
    value = shift = 0
    while shift < 70:
        if position >= len(message):
            raise ValueError("cut short")
        byte = message[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
    raise ValueError("a number is too long")
