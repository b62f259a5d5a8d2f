"""Weights given their last values column by column, while those that are still free make up for what that changes.

Frantar et al., "GPTQ: Accurate Post-Training Quantization for Generative Pre-trained Transformers", 2023, for rounding;
Frantar and Alistarh, "SparseGPT: Massive Language Models Can Be Accurately Pruned in One-Shot", 2023, for zeros.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch

__all__ = ["TOGETHER", "Give", "compensated"]

TOGETHER = 128  # channels whose effect on those far behind is summed up before it is applied

Exact = NDArray[np.float64]
# the last values (outputs,) of a channel, from its number and its values now
Give = Callable[[int, Exact], Exact]


def compensated(
    weights: NDArray[np.float32], root: torch.Tensor, every: int, choose: Callable[[int, Exact], Give]
) -> NDArray[np.float32]:
    """Weights (outputs, channels) at their last values. `root` is the inverse root for the order of their channels.

    At each `every`-th channel, of TOGETHER at most, `choose` is told its number and the weights (outputs, up to
    `every`) from there on, as they are by then; what it returns gives those channels their last values.
    """
    import torch

    now = weights.T.astype(np.float64)  # a channel is a row here
    roots = root.numpy()
    count = len(now)
    together = TOGETHER - TOGETHER % every
    for start in range(0, count, together):
        stop = min(start + together, count)
        moved = np.zeros((stop - start, now.shape[1]))
        for at in range(start, stop):
            if at % every == 0:
                give = choose(at, now[at : min(at + every, stop)].T)
            last = give(at, now[at])
            moved[at - start] = (last - now[at]) / roots[at, at]
            now[at] = last
            now[at + 1 : stop] += roots[at, at + 1 : stop, None] * moved[at - start]
        behind = torch.from_numpy(now[stop:])
        behind += root[start:stop, stop:].T @ torch.from_numpy(moved)
    return np.ascontiguousarray(now.T, dtype=np.float32)
