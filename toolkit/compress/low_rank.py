"""A matrix as the product of two of lower rank, so that what it gives changes least for what came in.

W becomes W C with C = S V V^T S^-1, where S S^T is the covariance of the inputs and V the first right singular vectors
of W S. It is the same as U U^T W with the left ones, in which nothing is inverted: U and U^T W are the two factors.

Wang et al., "SVD-LLM: Truncation-aware Singular Value Decomposition for Large Language Model Compression", 2024, with
the mean of the inputs in the bias; without the covariance it is the SVD of Eckart and Young, 1936.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from toolkit.compress.one_thread import one_thread
from toolkit.compress.statistics import Moments
from toolkit.compress.surgery import damp

__all__ = ["Factors", "factors"]

Numbers = NDArray[np.float32]


class Factors(NamedTuple):
    """`left` (outputs, ranks) and `right` (ranks, inputs), what matters most first, and what is `lost` (ranks + 1,)
    with none, one, two ... ranks: the square error of the outputs, its mean over the rows."""

    left: Numbers
    right: Numbers
    lost: NDArray[np.float64]

    def first(self, rank: int) -> tuple[Numbers, Numbers]:
        """Both with the first ranks alone."""
        return np.ascontiguousarray(self.left[:, :rank]), np.ascontiguousarray(self.right[:rank])


def factors(weights: Numbers, seen: Moments | None = None) -> Factors:
    """Those of weights (outputs, inputs), for inputs with the moments that were `seen`, whose mean the bias will make
    up for; without, for inputs of which nothing is known."""
    import torch

    matrix = torch.from_numpy(weights.astype(np.float64))
    with one_thread():
        if seen is None:
            whitened = matrix
        else:
            covariance = torch.from_numpy(seen.second - np.outer(seen.mean, seen.mean))
            held = damp(seen) * torch.eye(len(covariance), dtype=torch.float64)
            whitened = matrix @ torch.linalg.cholesky(covariance + held)
        vectors, sizes, _ = torch.linalg.svd(whitened, full_matrices=False)
        # half of each size on either side: what lies between the factors has no channels far larger than the others
        half = sizes.clamp_min(1e-12 * float(sizes.max()) + 1e-30).sqrt()
        left, right = vectors * half, (vectors.T @ matrix) / half[:, None]
        powers = sizes.square().flip(0).cumsum(0).flip(0)
    return Factors(left.float().numpy(), right.float().numpy(), np.append(powers.numpy(), 0.0))
