"""Input channels taken out of a layer, and the weights of the others changed so that its output changes least.

Hassibi and Stork, "Second Order Derivatives for Network Pruning: Optimal Brain Surgeon", 1993, with the Hessian of the
layer's own square error; groups of channels as in Kurtic et al., "ZipLM: Inference-Aware Structured Pruning of Language
Models", 2023.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from toolkit.compress.one_thread import one_thread
from toolkit.compress.statistics import Moments

if TYPE_CHECKING:
    import torch

__all__ = ["Order", "damp", "order", "refitted", "straightened"]

Numbers = NDArray[np.float32]

# Of the mean power of a channel, where there is one row for each. With less, the weights follow the noise of few rows;
# with much more, what goes is not made up for.
DAMP = 0.02
ROUNDS = 32  # in which the groups go; within one, each is judged as if it went alone


class Order(NamedTuple):
    """The order in which groups of channels go, what costs least first, and what is `lost` (groups,) when so many have
    gone, from none to all but one: the square error of the outputs, its mean over the rows."""

    groups: NDArray[np.intp]
    lost: NDArray[np.float64]

    def kept(self, count: int) -> NDArray[np.intp]:
        """The groups that stay when `count` do, in the order of the layer."""
        return np.sort(self.groups[len(self.groups) - count :])


def order(weights: Numbers, seen: Moments, size: int, *, repair: bool) -> Order:
    """The order for weights (outputs, channels) of which `size` neighbours go together.

    With `repair`, what a group costs is what the others cannot make up for, found anew as groups go; without, it is the
    power that it adds to the outputs by itself.
    """
    import torch

    count = weights.shape[1] // size
    if not repair:
        power = np.square(weights, dtype=np.float64).sum(axis=0) * seen.second.diagonal()
        alone = power.reshape(count, size).sum(axis=1)
        first = np.argsort(alone, kind="stable")
        return Order(first, np.concatenate([[0.0], np.cumsum(alone[first[:-1]])]))
    with one_thread():
        now, inverse = _with_bias(weights), torch.cholesky_inverse(torch.linalg.cholesky(_damped(seen)))
        alive, lost, gone = torch.arange(count), [0.0], [torch.arange(0)]
        while len(alive) > 1:
            cheap = _costs(now, inverse, size).argsort(stable=True)
            some = cheap[: min(max(1, count // ROUNDS), len(alive) - 1)]
            stay = torch.ones(len(alive), dtype=torch.bool)
            stay[some] = False
            out = (some[:, None] * size + torch.arange(size)).reshape(-1)
            others = torch.cat([stay.repeat_interleave(size), torch.ones(1, dtype=torch.bool)])
            moved, own = now[:, out], torch.linalg.cholesky(inverse[out][:, out])
            cost = float((moved.T * torch.cholesky_solve(moved.T, own)).sum())
            lost += [lost[-1] + cost * (number + 1) / len(some) for number in range(len(some))]
            share = torch.cholesky_solve(inverse[out], own)[:, others]
            now = now[:, others] - moved @ share
            inverse = inverse[others][:, others] - inverse[others][:, out] @ share
            gone.append(alive[some])
            alive = alive[stay]
        return Order(torch.cat([*gone, alive]).numpy(), np.array(lost))


def refitted(weights: Numbers, seen: Moments, kept: NDArray[np.intp]) -> tuple[Numbers, Numbers]:
    """The weights (outputs, kept) and what to add to the bias (outputs,), when only some channels are kept: the least
    square error over the rows that were seen, weights held near where they were."""
    import torch

    if len(kept) == weights.shape[1]:
        return weights, np.zeros(len(weights), np.float32)
    with one_thread():
        hessian = _damped(seen)
        stay = torch.from_numpy(np.append(kept, weights.shape[1]))
        wanted = _with_bias(weights) @ hessian[:, stay]
        found = torch.cholesky_solve(wanted.T, torch.linalg.cholesky(hessian[stay][:, stay])).T.float().numpy()
    return np.ascontiguousarray(found[:, :-1]), np.ascontiguousarray(found[:, -1])


def straightened(seen: Moments) -> tuple[Numbers, Numbers]:
    """The matrix (channels, channels) and the shift (channels,) that bring rows x nearest to rows y as x @ matrix +
    shift, from the moments of both as (x, y); held near to leaving x as it is, where the data says little."""
    import torch

    channels = len(seen.mean) // 2
    taken = Moments(seen.rows, seen.mean[:channels], np.ascontiguousarray(seen.second[:channels, :channels]))
    moved = seen.second[:channels, channels:] - taken.second
    with one_thread():
        wanted = torch.from_numpy(np.vstack([moved, seen.mean[channels:] - taken.mean]))
        found = torch.cholesky_solve(wanted, torch.linalg.cholesky(_damped(taken))).float().numpy()
    return np.eye(channels, dtype=np.float32) + found[:-1], np.ascontiguousarray(found[-1])


def damp(seen: Moments) -> float:
    """What is added to the power of each channel: it holds weights where they were, where the data says little about
    them, the more the fewer rows there were."""
    return max(DAMP * len(seen.mean) / max(seen.rows, 1) * float(seen.second.diagonal().mean()), 1e-12)


def _damped(seen: Moments) -> torch.Tensor:
    """The second moments of the channels and of a constant one, which stands for the bias (channels + 1, the same)."""
    import torch

    second, mean = torch.from_numpy(seen.second), torch.from_numpy(seen.mean)[:, None]
    held = damp(seen) * torch.eye(len(second), dtype=torch.float64)
    return torch.cat([torch.cat([second + held, mean], dim=1), torch.cat([mean.T, torch.ones(1, 1)], dim=1)])


def _with_bias(weights: Numbers) -> torch.Tensor:
    import torch

    return torch.from_numpy(np.pad(weights.astype(np.float64), ((0, 0), (0, 1))))


def _costs(weights: torch.Tensor, inverse: torch.Tensor, size: int) -> torch.Tensor:
    """What each group that is left costs if it goes alone (groups,)."""
    import torch

    count = len(inverse) // size  # the constant one is no group
    channels = weights[:, :-1]
    if size == 1:
        return channels.square().sum(dim=0) / inverse.diagonal()[:-1]
    blocks = torch.stack([inverse[at : at + size, at : at + size] for at in range(0, count * size, size)])
    moved = channels.reshape(len(weights), count, size).permute(1, 2, 0)
    costs: torch.Tensor = (moved * torch.linalg.solve(blocks, moved)).sum(dim=(1, 2))
    return costs
