"""A network whose weights, and what comes into its products, are rounded as the integers that they will be.

The forward pass rounds, the backward pass goes on as if it did not (Bengio et al., "Estimating or Propagating Gradients
Through Stochastic Neurons", 2013), but for what lies outside of the levels; the scales are learned with the weights:
Esser et al., "Learned Step Size Quantization", 2020. A scale moves by a factor: weights of all sizes share a rate.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import onnx
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional as F  # noqa: N812 - its customary name

from toolkit.train.errors import TrainingError
from toolkit.train.lesson import Lesson, Level, Levels
from toolkit.train.network import Network

__all__ = ["Rounded"]

Tensor = torch.Tensor

PAIR = 128  # two neighbours alike in sign may add up to this (toolkit.compress.grid)


class Rounded(Network):
    """Computes with rounded weights; hands out, by their names, those that are not, and the scales of both."""

    def __init__(self, model: bytes, lesson: Lesson) -> None:
        """Raises TrainingError "train_operator", "train_weights" also where a weight that is to be rounded does not
        learn."""
        super().__init__(model, learns=True)
        if missing := sorted(lesson.weights.keys() - self._places.keys()):
            raise TrainingError("train_weights", f"no weight that learns: {', '.join(missing[:5])}")
        for name in lesson.held:
            if (place := self._places.pop(name, None)) is not None:
                self._constants[name] = getattr(self, place).detach()
                delattr(self, place)
        self._levels = lesson.weights
        self._level = lesson.inputs
        self._at_once = lesson.made
        self._factors: dict[str, str] = {}
        scales = [levels.scale for levels in lesson.weights.values()]
        scales += [level.scale for level in lesson.inputs.values()]
        for number, scale in enumerate(scales):
            self._factors[scale] = f"factor_{number}"
            self.register_parameter(f"factor_{number}", nn.Parameter(torch.zeros_like(self._constants[scale])))

    def weights(self) -> dict[str, NDArray[Any]]:
        """See Network."""
        scales = {name: self._scale(name).detach().cpu().numpy().copy() for name in self._factors}
        return super().weights() | scales

    def _scale(self, name: str) -> Tensor:
        factor: Tensor = getattr(self, self._factors[name])
        return self._constants[name] * factor.exp()

    def _weight(self, name: str) -> Tensor:
        weight, levels = self._kept(name), self._levels.get(name)
        return weight if levels is None else self._on(weight, levels)

    def _inputs(self, node: onnx.NodeProto, values: Mapping[str, Tensor]) -> list[Tensor | None]:
        first, *others = super()._inputs(node, values)
        level = self._level.get(node.input[0]) if len(node.input) > 1 and node.input[1] in self._levels else None
        if level is not None and first is not None:
            first = _leveled(first, self._scale(level.scale), level)
        return [first, *others]

    def _made(self, name: str, value: Tensor) -> Tensor:
        level = self._at_once.get(name)
        return value if level is None else _leveled(value, self._constants[level.scale], level)

    def _on(self, weight: Tensor, levels: Levels) -> Tensor:
        """A weight on its levels."""
        if weight.ndim > 2:  # a convolution: its inputs stand side by side, as the kernel takes them
            inputs_last = weight.flatten(2).mT
            made = self._on(inputs_last.flatten(1), levels)
            return made.reshape(inputs_last.shape).mT.reshape(weight.shape)
        rows = weight if levels.by_output else weight.T
        size = levels.size or rows.shape[1]
        blocks = F.pad(rows, (0, -rows.shape[1] % size)).reshape(len(rows), -1, size)
        scale = self._scale(levels.scale)[..., None]
        zero = self._constants[levels.zero][..., None] if isinstance(levels.zero, str) else levels.zero
        near = torch.clamp(blocks / scale + zero, levels.low, levels.high)
        near = _through(near, _paired if levels.paired else torch.round)
        made = ((near - zero) * scale).reshape(len(rows), -1)[:, : rows.shape[1]]
        return made if levels.by_output else made.T


def _leveled(value: Tensor, scale: Tensor, level: Level) -> Tensor:
    near = _through(value / scale, torch.round) + level.zero
    return (torch.clamp(near, 0, level.high) - level.zero) * scale


def _through(values: Tensor, rounded: Any) -> Tensor:
    """What a function gives, and the gradient of what it was given."""
    made: Tensor = values + (rounded(values.detach()) - values.detach())
    return made


def _paired(values: Tensor) -> Tensor:
    """As toolkit.compress.grid does: what two neighbours have too much is taken from both alike."""
    whole = torch.round(values)
    even, odd = whole[..., : whole.shape[-1] // 2 * 2 : 2], whole[..., 1::2]
    over = torch.where(even * odd > 0, (even.abs() + odd.abs() - PAIR).clamp_min(0), 0)
    even.sub_(even.sign() * torch.ceil(over / 2))
    odd.sub_(odd.sign() * torch.floor(over / 2))
    return whole
