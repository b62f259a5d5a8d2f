"""A network of which no weight moves but what is added to some: two narrow matrices each.

Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", 2021.
"""

from __future__ import annotations

import torch
from torch import nn

from toolkit.train.errors import TrainingError
from toolkit.train.lesson import Adapters
from toolkit.train.network import Network

__all__ = ["Adapted"]

Tensor = torch.Tensor


class Adapted(Network):
    """W + alpha / rank A B for each weight W (inputs, outputs) with an adapter, A (inputs, rank) random and B (rank,
    outputs) zero to begin with. What is handed out is their sum."""

    def __init__(self, model: bytes, adapters: Adapters) -> None:
        """Raises TrainingError "train_operator", "train_weights" also where a weight that is to have an adapter is no
        matrix that learns."""
        super().__init__(model, learns=True)
        self._factor = adapters.alpha / adapters.rank
        generator = torch.Generator().manual_seed(adapters.seed)
        whole, self._places = self._places, {}
        for name, place in whole.items():
            weight: Tensor = getattr(self, place).detach()
            delattr(self, place)
            self._constants[name] = weight
            if name in adapters.weights and weight.ndim == 2:
                self._places[name] = place
                inputs, outputs = weight.shape
                narrow = torch.randn(inputs, adapters.rank, generator=generator) * inputs**-0.5
                self.register_parameter(f"{place}_a", nn.Parameter(narrow))
                self.register_parameter(f"{place}_b", nn.Parameter(torch.zeros(adapters.rank, outputs)))
        if missing := sorted(set(adapters.weights) - self._places.keys()):
            raise TrainingError("train_weights", f"no matrix that learns: {', '.join(missing[:5])}")

    def _kept(self, name: str) -> Tensor:
        place = self._places[name]
        one: Tensor = getattr(self, f"{place}_a")
        other: Tensor = getattr(self, f"{place}_b")
        kept: Tensor | None = getattr(self, f"{place}_kept", None)
        moved = self._constants[name] + self._factor * (one @ other)
        return moved if kept is None else moved * kept
