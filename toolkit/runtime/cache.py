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
        self._vocabulary = vocabulary
        self._keep(1)

    def step(self, ids: Sequence[int], *, keep: int = 1) -> NDArray[np.float32]:
        """Add tokens, and give the logits (keep, vocabulary) of what comes after each of the last `keep` of them.

        Raises ValueError where there is no room or are fewer tokens than `keep`, and what the runtime raises.
        """
        if not 1 <= keep <= len(ids) or self.tokens + len(ids) > self._room:
            raise ValueError(f"{len(ids)} tokens, {keep} with logits, do not go behind {self.tokens} of {self._room}")
        total = self.tokens + len(ids)
        if keep != self._kept:
            self._keep(keep)
        self._binding.bind_cpu_input("input_ids", np.array([ids], np.int64))
        self._binding.bind_cpu_input("attention_mask", np.ones((1, total), np.int64))
        self._session.run_with_iobinding(self._binding)
        self.tokens = total
        logits: NDArray[np.float32] = self._logits.numpy()[0]
        return logits

    def back(self, tokens: int) -> None:
        """Forget what came after so many tokens. Raises ValueError where there are not so many.

        Nothing is wiped: what lies behind the last token is never looked at, and written over by the next step.
        """
        if not 0 <= tokens <= self.tokens:
            raise ValueError(f"there are {self.tokens} tokens, not {tokens}")
        self.tokens = tokens

    def _keep(self, keep: int) -> None:
        self._kept = keep
        self._logits = ort.OrtValue.ortvalue_from_shape_and_type((1, keep, self._vocabulary), np.float32)
        self._binding.bind_ortvalue_output("logits", self._logits)
        self._binding.bind_cpu_input("num_logits_to_keep", np.full(1, keep, np.int64))
