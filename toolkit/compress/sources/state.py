"""Weights from safetensors files, read from the bytes that were hashed and never from the folder."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load

from toolkit.compress.errors import SourceError
from toolkit.compress.sources.folder import File

__all__ = ["numbers", "refuse_infinite", "state_of"]


def state_of(files: Iterable[File]) -> dict[str, torch.Tensor]:
    """Every tensor of the files by name. Raises SourceError: source_changed, source_weights."""
    tensors: dict[str, torch.Tensor] = {}
    for file in files:
        shard = load(file.read())
        if not tensors.keys().isdisjoint(shard):
            raise SourceError("source_weights", f"{file.name} has tensors that another file has too")
        tensors.update(shard)
    refuse_infinite(tensors)
    return tensors


def refuse_infinite(tensors: Mapping[str, torch.Tensor]) -> None:
    """Raises SourceError "source_weights" for NaN and infinity."""
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise SourceError("source_weights", f"{name[:200]!r} holds NaN or infinity")


def numbers(tensor: torch.Tensor) -> NDArray[np.float32]:
    """Those of a weight, which may be the same memory."""
    values: NDArray[np.float32] = tensor.detach().float().numpy()
    return values
