"""Numbers as protocols carry them: written in JSON, or as bytes in the order of C, the lowest byte first."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from policies.payload import InputError

__all__ = ["MAX_DIGITS", "MAX_WRITTEN", "numbers", "packed", "ranked"]

# each is 32 bytes for a moment, as an object of Python in a list
MAX_WRITTEN = 500_000

# the parser takes 25 us for a subnormal number, 500 times what it takes for others
MAX_DIGITS = 40
_SMALL = re.compile(rb"[eE]-0*(?:2[5-9]\d|[3-9]\d\d|[1-9]\d{3})")
_SHAPED = bytes.maketrans(b"123456789.E", b"0000000000e")
_NESTED = re.compile(rb"\s*\[\s*\[")
_KINDS = {"b": bool, "i": int, "u": int, "f": float}


def numbers(written: bytes, dtype: str, dimensions: int, at: str) -> NDArray[Any]:
    """The numbers of a list in JSON, which is flat, or nested as deep as there are `dimensions`; `at` names it.

    Raises InputError: input_type, input_number, input_too_large.
    """
    if written.count(b",") >= MAX_WRITTEN:
        raise InputError("input_too_large", f"{at}: more than {MAX_WRITTEN} numbers in JSON; send them as bytes")
    shaped = written.translate(_SHAPED)
    if b"0" * (MAX_DIGITS + 1) in shaped or (b"e-000" in shaped and _SMALL.search(written)):
        raise InputError("input_number", f"{at}: a number has more than {MAX_DIGITS} digits, or is below 1e-250")
    try:
        depth = dimensions if _NESTED.match(written) else min(dimensions, 1)
        values = _decoder(np.dtype(dtype).kind, depth).decode(written)
        with np.errstate(over="ignore"):  # what is too large becomes infinite, and no reader takes that
            return np.array(values, dtype)
    except OverflowError:
        raise InputError("input_number", f"{at}: a number is out of the range of {dtype}") from None
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ValueError):
        raise InputError("input_type", f"{at}: not {dtype} in a list, flat or with {dimensions} dimensions") from None


def packed(array: NDArray[Any]) -> bytes:
    """The bytes of an array of numbers."""
    return array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()


def ranked(logits: NDArray[Any], most: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The `most` best classes of each item of (items, classes), best first, the lower one where two are alike, and
    their probabilities by softmax: (items, most) each."""
    rows = logits.reshape(len(logits), -1).astype(np.float64)
    best = np.argsort(-rows, axis=1, kind="stable")[:, :most]
    with np.errstate(invalid="ignore"):  # the probability of what is not finite is NaN
        weights = np.exp(rows - rows.max(axis=1, keepdims=True))
        shares = weights / weights.sum(axis=1, keepdims=True)
    return best, np.take_along_axis(shares, best, axis=1)


@cache
def _decoder(kind: str, depth: int) -> msgspec.json.Decoder[Any]:
    lists: Any = _KINDS[kind]
    for _ in range(depth):
        lists = list[lists]
    return msgspec.json.Decoder(lists)
