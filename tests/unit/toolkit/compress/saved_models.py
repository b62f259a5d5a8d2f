"""Programs of SavedModels written byte by byte (tensorflow/core/protobuf/saved_model.proto): TensorFlow writes none of
these flaws."""

from __future__ import annotations

__all__ = ["field", "function", "node", "saved"]


def varint(number: int) -> bytes:
    """A number as protobuf writes it."""
    low, high = number & 0x7F, number >> 7
    return bytes([low | 0x80]) + varint(high) if high else bytes([low])


def field(number: int, *parts: bytes) -> bytes:
    """A field of bytes: a text, or a message of other fields."""
    data = b"".join(parts)
    return varint(number << 3 | 2) + varint(len(data)) + data


def node(operation: str, *, calls: str = "", dims: tuple[int, ...] = ()) -> bytes:
    """A NodeDef that calls a function, or holds a constant of these dimensions with one number written."""
    attributes = b""
    if calls:
        attributes += field(5, field(1, b"f"), field(2, field(10, field(1, calls.encode()))))
    if dims:
        shape = field(2, *(field(2, b"\x08" + varint(dim)) for dim in dims))
        attributes += field(5, field(1, b"value"), field(2, field(8, b"\x08\x01", shape)))
    return field(2, operation.encode()) + attributes


def function(name: str, *nodes: bytes) -> bytes:
    """A function of a library."""
    return field(1, field(1, field(1, name.encode())), *(field(3, one) for one in nodes))


def saved(*functions: bytes, objects: bytes = b"", top: bytes = b"", meta: bytes = b"") -> bytes:
    """A SavedModel with these functions, fields of its object graph, its outermost graph and its MetaGraphDef."""
    return field(2, field(2, top, field(2, *functions)), field(7, objects), meta)
