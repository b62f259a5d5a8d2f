"""The export held against the original: the same answers to batches of several sizes and lengths."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from toolkit.compress.errors import CompressionError
from toolkit.runtime.session import Feeds

__all__ = ["difference"]

TOLERANCE = 1e-3  # relative to the largest number that an output holds, where that is above 1

Outputs = list[list[NDArray[Any]]]


def difference(trials: list[Feeds], expected: Outputs, given: Outputs) -> float:
    """The largest difference of the outputs, those of each batch, relative to the largest number that an output holds,
    where that is above 1. What stands on padding is not compared.

    Raises CompressionError "export_differs".
    """
    apart = [
        _apart(a, b, feeds.get("attention_mask"))
        for feeds, left, right in zip(trials, expected, given, strict=True)
        for a, b in zip(left, right, strict=True)
    ]
    largest = float(np.max(apart))  # max() would hide a NaN
    if not largest <= TOLERANCE:
        raise CompressionError("export_differs", f"the graph differs from the model by {largest:.2g}")
    return largest


def _apart(expected: NDArray[Any], given: NDArray[Any], mask: NDArray[Any] | None) -> float:
    """NaN where one of the two holds it alone, or where the shapes are not the same."""
    if expected.shape != given.shape:
        return float("nan")
    if mask is not None and expected.ndim > mask.ndim and expected.shape[:2] == mask.shape:
        expected, given = expected[mask.astype(bool)], given[mask.astype(bool)]
    largest = float(np.abs(expected).max(initial=1.0))
    return float(np.abs(expected.astype(np.float64) - given).max(initial=0.0)) / largest
