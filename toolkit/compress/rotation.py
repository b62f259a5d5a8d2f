"""A residual stream in other axes, of which those along which it reaches least are left out.

A LayerNormalization takes the mean off its channels and brings them to one length. Lengths stay what they are in any
axes, and what lies along the mean has no effect. So a stream of d channels goes through the same operator with D, which
are no more, when it is brought into axes that no mean lies along on either side: D - 1 of the directions without a mean
that d channels have, as D channels without a mean. With D = d this is exact. The scale and the shift of the
normalisation become part of whatever reads it.

Ashkboos et al., "SliceGPT: Compress Large Language Models by Deleting Rows and Columns", 2024, where LayerNormalization
becomes RMSNorm instead.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from toolkit.compress.one_thread import one_thread
from toolkit.compress.statistics import Moments
from toolkit.compress.surgery import damp

__all__ = ["Return", "axes", "meanless", "normalised", "returned"]

Numbers = NDArray[np.float64]


class Return(NamedTuple):
    """The way back: what was normalised in the new axes times `matrix` (D, d), and `shift` (d,)."""

    matrix: Numbers
    shift: Numbers


def meanless(channels: int) -> Numbers:
    """The directions without a mean (channels - 1, channels), orthonormal: those of Helmert, 1876."""
    rows = np.tril(np.ones((channels, channels)), -1)[1:] - np.diag(np.arange(channels, dtype=np.float64))[1:]
    lengths = np.sqrt(np.arange(1, channels) * np.arange(2, channels + 1))
    return np.asarray(rows / lengths[:, None], np.float64)


def axes(second: Numbers, count: int) -> Numbers:
    """The matrix (d, D) that brings a stream into `count` = D channels, for the second moments (d, d) of what its
    normalisations made of it: those axes along which it reaches farthest."""
    free = meanless(len(second))
    with one_thread():
        _, vectors = np.linalg.eigh(free @ second @ free.T)
        found: Numbers = free.T @ vectors[:, ::-1][:, : count - 1] @ meanless(count)
    return found


def normalised(rows: NDArray[np.float32], epsilon: float, channels: int) -> Numbers:
    """Rows without their mean, brought to the length of one for each of so many channels."""
    free = rows.astype(np.float64) - rows.mean(axis=-1, keepdims=True, dtype=np.float64)
    found: Numbers = free / np.sqrt(np.square(free).sum(axis=-1, keepdims=True) / channels + epsilon)
    return found


def returned(turned: Numbers, seen: Moments) -> Return:
    """The way back from axes (d, D), for moments of rows as they are normalised in the new axes beside what the plain
    way back misses of them (D + d): fitted by least squares, held near the plain way."""
    count = turned.shape[1]
    own = Moments(seen.rows, seen.mean[:count], np.ascontiguousarray(seen.second[:count, :count]))
    taken = np.zeros((count + 1, count + 1))
    taken[:count, :count] = own.second + damp(own) * np.eye(count)
    taken[count, :count] = taken[:count, count] = own.mean
    taken[count, count] = 1
    with one_thread():
        found = np.linalg.solve(taken, np.vstack([seen.second[:count, count:], seen.mean[count:]]))
    return Return(turned.T + found[:-1], found[-1])
