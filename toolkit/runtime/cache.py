"""The keys and values of one text that is being generated: one buffer for each layer, which the model adds to in place.

Past and present are bound to the same memory, so that a step copies nothing of what was there before.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from policies.facts import Tensor

__all__ = ["PAST", "Cache"]

PAST, PRESENT = "past_key_values.", "present."


class Cache:
    """Room for `room` tokens of one text. One thread at a time."""

    def __init__(self, session: Any, inputs: Sequence[Tensor], vocabulary: int, room: int) -> None:
        self._session = session
        self._binding = session.io_binding()
        self._room = room
        self.tokens = 0
        for tensor in inputs:
            if tensor.name.startswith(PAST):
                empty = np.zeros((1, int(tensor.shape[1]), room, int(tensor.shape[3])), np.float32)
                buffer = ort.OrtValue.ortvalue_from_numpy(empty)
                self._binding.bind_ortvalue_input(tensor.name, buffer)
                self._binding.bind_ortvalue_output(PRESENT + tensor.name.removeprefix(PAST), buffer)
        self._logits = ort.OrtValue.ortvalue_from_shape_and_type((1, 1, vocabulary), np.float32)
        self._binding.bind_ortvalue_output("logits", self._logits)
        self._binding.bind_cpu_input("num_logits_to_keep", np.ones(1, np.int64))

    def step(self, ids: Sequence[int]) -> NDArray[np.float32]:
        """Add tokens, and give the logits (vocabulary,) of what comes after them. Raises ValueError where there is no
        room, and what the runtime raises."""
        if not ids or self.tokens + len(ids) > self._room:
            raise ValueError(f"{len(ids)} tokens do not go behind {self.tokens} of {self._room}")
        total = self.tokens + len(ids)
        self._binding.bind_cpu_input("input_ids", np.array([ids], np.int64))
        self._binding.bind_cpu_input("attention_mask", np.ones((1, total), np.int64))
        self._session.run_with_iobinding(self._binding)
        self.tokens = total
        logits: NDArray[np.float32] = self._logits.numpy()[0, 0]
        return logits
