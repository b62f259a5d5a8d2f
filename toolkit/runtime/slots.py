"""Keys and values of texts that are being generated: one buffer for each layer, in which every text has a row.

The model adds to it in place: past and present are bound to the same memory, so that a run copies nothing of what was
there before. Neighbouring rows can be run together, however long each of them is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from policies.facts import Tensor

__all__ = ["PAST", "PRESENT", "Block", "Slots"]

PAST, PRESENT = "past_key_values.", "present."

Numbers = NDArray[np.float32]
# keys and values of some tokens of one text, (heads, tokens, width) for each layer and kind
Block = tuple[Numbers, ...]


class Slots:
    """`rows` texts, each with room for `room` tokens, and for one more that a row may be run with beside others though
    it has none. One thread at a time."""

    def __init__(self, session: Any, inputs: Sequence[Tensor], vocabulary: int, rows: int, room: int) -> None:
        """Raises MemoryError."""
        self._session = session
        self._vocabulary = vocabulary
        self.rows = rows
        self.room = room
        caches = [tensor for tensor in inputs if tensor.name.startswith(PAST)]
        # a page of memory is taken when it is written to, not now
        self._buffers = {
            tensor.name: np.zeros((rows, int(tensor.shape[1]), room + 1, int(tensor.shape[3])), np.float32)
            for tensor in caches
        }
        self._bindings: dict[tuple[int, int, int], tuple[Any, Numbers]] = {}

    @staticmethod
    def size(inputs: Sequence[Tensor], rows: int, room: int) -> int:
        """Bytes that so many rows take at most."""
        widths = [int(one.shape[1]) * int(one.shape[3]) for one in inputs if one.name.startswith(PAST)]
        return 4 * rows * (room + 1) * sum(widths)

    def run(self, first: int, ids: NDArray[np.int64], lengths: NDArray[np.int64], keep: int = 1) -> Numbers:
        """Run `ids` (rows, tokens) through the rows from `first` on, which have `lengths` (rows,) tokens with them.

        Gives the logits (rows, keep, vocabulary) of what comes after each of the last `keep` tokens. Several rows take
        one token each. Raises what the runtime raises.
        """
        rows = len(ids)
        if not 0 <= first <= self.rows - rows or not 0 < int(lengths.min()) <= int(lengths.max()) <= self.room + 1:
            raise ValueError(f"no {rows} rows from {first} with {lengths.tolist()} tokens")
        binding, logits = self._bound(first, rows, keep)
        mask = np.arange(int(lengths.max())) < lengths[:, None]
        binding.bind_cpu_input("input_ids", np.ascontiguousarray(ids))
        binding.bind_cpu_input("attention_mask", mask.astype(np.int64))
        self._session.run_with_iobinding(binding)
        return logits.copy()

    def read(self, row: int, first: int, last: int) -> Block:
        """A copy of what the tokens from `first` to before `last` left."""
        return tuple(buffer[row, :, first:last].copy() for buffer in self._buffers.values())

    def write(self, row: int, first: int, block: Block) -> None:
        """Put what tokens left, in another row or at another time, from the place `first` on."""
        for buffer, one in zip(self._buffers.values(), block, strict=True):
            buffer[row, :, first : first + one.shape[1]] = one

    def exchange(self, one: int, other: int, tokens: int) -> None:
        """Let two rows change their places, with the first `tokens` of both."""
        for buffer in self._buffers.values():
            kept = buffer[one, :, :tokens].copy()
            buffer[one, :, :tokens] = buffer[other, :, :tokens]
            buffer[other, :, :tokens] = kept

    def wipe(self, row: int, tokens: int) -> None:
        """Overwrite the first `tokens` of a row."""
        for buffer in self._buffers.values():
            buffer[row, :, :tokens] = 0

    def _bound(self, first: int, rows: int, keep: int) -> tuple[Any, Numbers]:
        """The buffers bound by address: the binding holds neither them nor the logits alive, this object does."""
        found = self._bindings.get((first, rows, keep))
        if found is not None:
            return found
        binding = self._session.io_binding()
        for name, buffer in self._buffers.items():
            part = buffer[first : first + rows]
            for bind, bound in ((binding.bind_input, name), (binding.bind_output, PRESENT + name.removeprefix(PAST))):
                bind(bound, "cpu", 0, np.float32, part.shape, part.ctypes.data)
        logits = np.zeros((rows, keep, self._vocabulary), np.float32)
        binding.bind_output("logits", "cpu", 0, np.float32, logits.shape, logits.ctypes.data)
        binding.bind_cpu_input("num_logits_to_keep", np.full(1, keep, np.int64))
        self._bindings[first, rows, keep] = binding, logits
        return binding, logits
