"""How far a student is from its teacher: for each item by itself, so that a batch may be dealt out in any way."""

from __future__ import annotations

from collections.abc import Sequence

import torch

__all__ = ["distances"]

Tensor = torch.Tensor


def distances(student: Sequence[Tensor], teacher: Sequence[Tensor], mask: Tensor | None) -> Tensor:
    """For each item (items,) the square of what differs over the square of what the teacher gave, its mean over the
    pairs of tensors (items, ...). What stands on padding does not count.

    Ba and Caruana, "Do Deep Nets Really Need to be Deep?", 2014, for logits; Jiao et al., "TinyBERT", 2020, for hidden
    states.
    """
    return torch.stack([_distance(a, b, mask) for a, b in zip(student, teacher, strict=True)]).mean(dim=0)


def _distance(student: Tensor, teacher: Tensor, mask: Tensor | None) -> Tensor:
    apart, whole = (student - teacher).square(), teacher.square()
    if mask is not None and teacher.ndim > 1 and teacher.shape[:2] == mask.shape:
        counts = mask.to(teacher.dtype).reshape(*mask.shape, *(1,) * (teacher.ndim - 2))
        apart, whole = apart * counts, whole * counts
    over = tuple(range(1, teacher.ndim))
    return apart.sum(dim=over) / whole.sum(dim=over).clamp_min(1e-12)
