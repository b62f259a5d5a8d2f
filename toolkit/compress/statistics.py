"""What comes into the layers of a graph over the calibration data: summed up once, whichever steps ask for it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from toolkit.compress.calibration import Calibration
from toolkit.compress.layers import Graph, Layer
from toolkit.compress.one_thread import one_thread

__all__ = ["Moments", "Sums", "joint", "moments"]

# What is summed up in one pass over the data, and what is kept, in bytes. A layer of 4,096 inputs takes 134 million
# whatever the data: where all the layers that a step asks for take more, it comes to several passes.
LIMIT = 1_000_000_000


class Moments(NamedTuple):
    """Of rows (rows, channels): how many there were, their `mean` (channels,), and `second` (channels, channels), the
    mean of x x^T: the Gram matrix over the number of rows, and half the Hessian of the square error of a layer."""

    rows: int
    mean: NDArray[np.float64]
    second: NDArray[np.float64]


class Sums:
    """Moments in the making. Memory does not grow with the rows; sums of batches are float64."""

    def __init__(self, channels: int) -> None:
        import torch

        self._rows = 0
        self._first = torch.zeros(channels, dtype=torch.float64)
        self._second = torch.zeros(channels, channels, dtype=torch.float64)

    def add(self, rows: NDArray[np.float32]) -> None:
        """Take in rows (rows, channels). Their products are of single precision."""
        import torch

        batch = torch.from_numpy(np.ascontiguousarray(rows, dtype=np.float32))
        self._rows += len(batch)
        self._first += batch.sum(dim=0, dtype=torch.float64)
        self._second += batch.T @ batch

    def moments(self) -> Moments:
        """Those of all rows so far; zeros where there was none."""
        count = max(self._rows, 1)
        return Moments(self._rows, (self._first / count).numpy(), (self._second / count).numpy())


class _Watched(NamedTuple):
    """Tensors whose rows are joined channel by channel, and where the channels lie, from the end."""

    names: tuple[str, ...]
    axis: int
    channels: int


def moments(graph: Graph, layers: Sequence[Layer], data: Calibration) -> Iterator[tuple[Layer, Moments]]:
    """Those of what came into each layer of a graph before it was changed, one after the other; of a convolution,
    position by position.

    They are kept beside the data for the next step or recipe that asks; where room is short, what was made first goes.
    Raises CompressionError "step_failed" where a tensor is not finite, or there is no data.
    """
    watched = []
    for layer in layers:
        groups, _, inputs, _ = graph.matrix(layer).shape
        watched.append(_Watched((layer.input,), layer.axis, groups * inputs))
    return zip(layers, _found(graph, watched, data), strict=True)


def joint(graph: Graph, pairs: Sequence[tuple[str, str]], channels: int, data: Calibration) -> Iterator[Moments]:
    """Those of pairs of tensors (..., channels), as one of twice as many channels. As `moments` in all else."""
    return _found(graph, [_Watched(pair, -1, 2 * channels) for pair in pairs], data)


def _found(graph: Graph, watched: Sequence[_Watched], data: Calibration) -> Iterator[Moments]:
    kept: dict[tuple[str, _Watched], Moments] = data.once("moments", dict)
    for part in _parts(watched):
        found = {one: kept[graph.digest, one] for one in part if (graph.digest, one) in kept}
        if missing := [one for one in dict.fromkeys(part) if one not in found]:
            found |= _summed(graph, missing, data)
            kept.update({(graph.digest, one): made for one, made in found.items()})
            while sum(one.second.nbytes for one in kept.values()) > LIMIT:
                del kept[next(iter(kept))]
        for one in part:
            yield found[one]


def _summed(graph: Graph, watched: Sequence[_Watched], data: Calibration) -> dict[_Watched, Moments]:
    sums = {one: Sums(one.channels) for one in watched}
    before = Graph(graph.before, graph.kind, layers=False)  # the caller may have begun to change the other
    with one_thread():
        for values in before.watch(tuple(dict.fromkeys(name for one in watched for name in one.names)), data):
            for one in watched:
                parts = [np.moveaxis(values[name], one.axis, -1) for name in one.names]
                sums[one].add(np.concatenate(parts, axis=-1).reshape(-1, one.channels))
    return {one: made.moments() for one, made in sums.items()}


def _parts(watched: Sequence[_Watched]) -> Iterator[list[_Watched]]:
    """As many as there is room for at once, at least one."""
    part: list[_Watched] = []
    room = LIMIT
    for one in watched:
        size = 8 * one.channels**2
        if part and size > room:
            yield part
            part, room = [], LIMIT
        part.append(one)
        room -= size
    if part:
        yield part
