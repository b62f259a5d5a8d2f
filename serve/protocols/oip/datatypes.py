"""The datatypes of the protocol, and how those of its elements that are bytes lie one behind the other."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain
from typing import Final

from serve.problems import RequestError

__all__ = ["DATATYPES", "DTYPES", "ITEM_BYTES", "joined", "parted"]

# by numpy's names; BF16 is not among them, since numpy has none
DATATYPES: Final = {
    "bool": "BOOL",
    "uint8": "UINT8",
    "uint16": "UINT16",
    "uint32": "UINT32",
    "uint64": "UINT64",
    "int8": "INT8",
    "int16": "INT16",
    "int32": "INT32",
    "int64": "INT64",
    "float16": "FP16",
    "float32": "FP32",
    "float64": "FP64",
    "object": "BYTES",
}
DTYPES: Final = {datatype: dtype for dtype, datatype in DATATYPES.items()}
ITEM_BYTES: Final = {
    datatype: int("".join(filter(str.isdigit, datatype)) or 8) // 8 for datatype in DTYPES if datatype != "BYTES"
}


def parted(data: memoryview, count: int) -> list[bytes]:
    """The `count` elements of BYTES, each behind its length in four bytes. Raises RequestError: tensor_binary."""
    parts: list[bytes] = []
    at = 0
    for _ in range(count):
        start = at + 4
        at = start + int.from_bytes(data[at:start], "little")
        if at > len(data):
            break
        parts.append(data[start:at].tobytes())
    if len(parts) != count or at != len(data):
        raise RequestError("tensor_binary", "the elements do not fill their tensor, or are more than their shape says")
    return parts


def joined(parts: Iterable[bytes]) -> bytes:
    """The same the other way."""
    return b"".join(chain.from_iterable((len(part).to_bytes(4, "little"), part) for part in parts))
