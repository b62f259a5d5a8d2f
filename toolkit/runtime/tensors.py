"""The reader for models that take neither texts nor images: an item is one set of named tensors, and runs alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import Annotated, Any

import msgspec
import numpy as np
from msgspec import Meta, Struct
from numpy.typing import NDArray

from policies.facts import Tensor
from policies.payload import InputError, Payload
from toolkit.runtime.readers import Outputs
from toolkit.runtime.session import Feeds, ModelError

__all__ = ["TensorReader"]

MAX_ITEMS = 2048
_DTYPES = frozenset({"bool", "float16", "float32", "float64"})
_DTYPES |= {f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)}


class _Described(Struct, frozen=True, forbid_unknown_fields=True):
    dtype: str
    shape: Annotated[tuple[Annotated[int, Meta(ge=1, le=2**31 - 1)], ...], Meta(max_length=16)]
    blob: str


class TensorReader:
    """Items in a payload {"tensors": [{NAME: {"dtype": ..., "shape": [...], "blob": BLOB}, ...}, ...]}.

    Each names every input of the model. The numbers are the bytes of the payload's blob BLOB: in the order of C, least
    significant byte first, a boolean as one byte 0 or 1. Every blob serves one tensor, and none is left over: a small
    payload makes no large run, and nothing is on record that did not run. An item runs as it is, with whatever size
    of batch it has, since nothing tells which dimension of a foreign model is the batch.
    """

    together = False

    def __init__(self, inputs: Sequence[Tensor]) -> None:
        """Raises ModelError for inputs that are no numbers."""
        for tensor in inputs:
            if tensor.dtype not in _DTYPES:
                raise ModelError(
                    "model_malformed", f"the input {tensor.name!r} takes {tensor.dtype}, which is no number"
                )
        self._inputs = {tensor.name: tensor for tensor in inputs}

    def items(self, payload: Payload) -> list[Feeds]:
        """See Reader. The tensors of each item by name."""
        value = payload.value
        try:
            described = msgspec.convert(
                value.get("tensors") if isinstance(value, dict) else None, list[dict[str, _Described]]
            )
        except msgspec.ValidationError:
            raise InputError(
                "input_type", "tensors are given as a list of objects: by input, its dtype, shape and blob"
            ) from None
        if not described:
            raise InputError("input_empty", "there are no tensors")
        if len(described) > MAX_ITEMS:
            raise InputError("input_too_large", f"at most {MAX_ITEMS} sets of tensors go into one call")
        if sorted(one.blob for item in described for one in item.values()) != sorted(payload.blobs):
            raise InputError("input_type", "each tensor has a blob of its own, and there are no others")
        items = []
        for item in described:
            self._named(item)
            items.append(
                self._checked({name: _array(name, one, payload.blobs[one.blob]) for name, one in item.items()})
            )
        return items

    def feeds(self, items: Sequence[Feeds]) -> Feeds:
        """The tensors of the one item. Raises InputError for several, and for what the model does not take."""
        if len(items) != 1:
            raise InputError("input_type", "a set of tensors runs alone")
        return self._checked(items[0])

    def answers(self, outputs: Sequence[NDArray[Any]], feeds: Feeds) -> NDArray[np.float32]:
        """All outputs in the model's order as one row, (1, numbers)."""
        return np.concatenate([output.reshape(1, -1) for output in outputs], axis=1, dtype=np.float32, casting="unsafe")

    def named(self, outputs: Mapping[str, NDArray[Any]], feeds: Feeds) -> Outputs:
        """The model's outputs under their own names, each with the shape that the model gave it."""
        return dict(outputs)

    def size(self, item: Feeds) -> int:
        """Bytes."""
        return sum(array.nbytes for array in item.values())

    def cost(self, payload: Payload) -> int:
        """Bytes."""
        return sum(map(self.size, self.items(payload)))

    def usage(self, feeds: Feeds) -> dict[str, int]:
        """See Reader."""
        return {"tensors": 1}

    def _named(self, item: object) -> None:
        if not isinstance(item, Mapping) or item.keys() != self._inputs.keys():
            raise InputError("input_type", f"an item has exactly these tensors: {sorted(self._inputs)}")

    def _checked(self, item: Feeds) -> Feeds:
        """An item with the names, types and shapes that the model takes; a dimension with a name has one size."""
        self._named(item)
        sizes: dict[str, int] = {}
        for name, array in item.items():
            expected = self._inputs[name]
            if not isinstance(array, np.ndarray) or array.dtype != expected.dtype or not array.size:
                raise InputError("input_type", f"{name}: the model takes {_shown(expected)}")
            if array.ndim != len(expected.shape) or any(
                size != (sizes.setdefault(dim, size) if isinstance(dim, str) else dim)
                for size, dim in zip(array.shape, expected.shape, strict=True)
            ):
                raise InputError("input_type", f"{name}: {array.shape} is given, the model takes {_shown(expected)}")
            if not np.isfinite(array).all():
                raise InputError("input_number", f"{name} holds NaN or infinity")
        return item


def _array(name: str, described: _Described, data: bytes) -> NDArray[Any]:
    """The numbers in a blob, read-only."""
    if described.dtype not in _DTYPES:
        raise InputError("input_type", f"{name}: the dtype is none of {sorted(_DTYPES)}")
    dtype = np.dtype(described.dtype).newbyteorder("<")
    if len(data) != prod(described.shape) * dtype.itemsize:
        raise InputError("input_type", f"{name}: the blob has {len(data)} bytes, not those of its dtype and shape")
    if dtype == np.bool_ and data.translate(None, b"\0\1"):
        raise InputError("input_type", f"{name}: a boolean is one byte, 0 or 1")
    return np.frombuffer(data, dtype=dtype).reshape(described.shape).astype(described.dtype, copy=False)


def _shown(tensor: Tensor) -> str:
    return f"{tensor.dtype} ({', '.join(map(str, tensor.shape))})"
