"""What the inputs of a layer say of its weights: how much each counts, what a change of them costs, and how others can
make up for it. The Hessian of the square error of a layer is twice the second moments of its input, which
toolkit.compress.statistics sums up once for all steps."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch

    from toolkit.compress.statistics import Moments

__all__ = ["error", "importance", "inverse_root"]

Numbers = NDArray[np.float32]


def importance(seen: Moments) -> NDArray[np.float64]:
    """The root mean square of each input channel (channels,)."""
    roots: NDArray[np.float64] = np.sqrt(np.maximum(seen.second.diagonal(), 0))
    return roots


def error(weights: Numbers, others: Numbers, seen: Moments) -> NDArray[np.float64]:
    """The mean square of what changes in each output (outputs,) when weights (outputs, channels) become others."""
    import torch

    change = torch.from_numpy(others.astype(np.float64) - weights)
    squares: NDArray[np.float64] = ((change @ torch.from_numpy(seen.second)) * change).sum(dim=1).numpy()
    return squares


def inverse_root(seen: Moments, order: NDArray[np.intp], damping: float) -> torch.Tensor:
    """The upper triangular root U of the inverse of the second moments, U^T U, with the channels in some order.

    When channels are given their last value one after the other, and number j is moved by d, those after it make up
    for that best when they move by d U[j, j+1:] / U[j, j]; what cannot be made up for is (d / U[j, j])^2. `damping` is
    added to the power of each channel, in units of the mean power: it holds weights near where they were.

    Frantar et al., "GPTQ: Accurate Post-Training Quantization for Generative Pre-trained Transformers", 2023, 3.3.
    """
    import torch

    second = torch.from_numpy(np.ascontiguousarray(seen.second[np.ix_(order, order)]))
    held = max(damping * float(second.diagonal().mean()), 1e-12)
    root = torch.linalg.cholesky(second + held * torch.eye(len(second), dtype=torch.float64))
    upper: torch.Tensor = torch.linalg.cholesky(torch.cholesky_inverse(root), upper=True)
    return upper
