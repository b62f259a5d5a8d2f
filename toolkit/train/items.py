"""The items of a training: joined to batches, and dealt out to processes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from toolkit.train.errors import TrainingError

__all__ = ["MASK", "Feeds", "batches", "joined", "share"]

Feeds = Mapping[str, NDArray[Any]]

MASK = "attention_mask"
KEPT = "num_logits_to_keep"  # of a decoder: it is said of a batch, not of an item


def batches(count: int, size: int, epochs: int, seed: int) -> Iterator[NDArray[np.intp]]:
    """The numbers of the items of each batch in turn: all of them once an epoch, in an order by seed and epoch. The
    last batch of an epoch may be smaller."""
    for epoch in range(epochs):
        order = np.random.default_rng((seed, epoch)).permutation(count)
        for start in range(0, count, size):
            yield order[start : start + size]


def share(batch: NDArray[np.intp], rank: int, processes: int) -> NDArray[np.intp]:
    """What one of so many processes takes of a batch; nothing where there are fewer items than processes."""
    return batch[rank::processes]


def joined(items: Sequence[Feeds]) -> dict[str, NDArray[Any]]:
    """Inputs of one item each, as those of one batch. Texts are padded to the longest of them.

    Raises TrainingError "train_shapes" for items of other shapes.
    """
    if len(items) == 1:
        return dict(items[0])
    if any(KEPT in item for item in items):
        kept, *others = (item[KEPT] for item in items)
        made = joined([{name: value for name, value in item.items() if name != KEPT} for item in items])
        if any((kept != other).any() for other in others):
            raise TrainingError("train_shapes", f"{KEPT} is not the same for all items")
        return {**made, KEPT: kept}
    longest = max(item[MASK].shape[1] for item in items) if MASK in items[0] else None
    made = {}
    for name in items[0]:
        parts = [item[name] if longest is None else _padded(item[name], longest) for item in items]
        if len({part.shape[1:] for part in parts}) > 1:
            raise TrainingError("train_shapes", f"{name} comes in several shapes: {parts[0].shape}, ...")
        made[name] = np.concatenate(parts)
    return made


def _padded(tensor: NDArray[Any], longest: int) -> NDArray[Any]:
    """Zeros behind the tokens: the mask is zero there, too."""
    if tensor.ndim < 2 or tensor.size == 0:  # a cache without tokens has none to be joined with
        return tensor
    return np.pad(tensor, [(0, 0), (0, longest - tensor.shape[1]), *[(0, 0)] * (tensor.ndim - 2)])
