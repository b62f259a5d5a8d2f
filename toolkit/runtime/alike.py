"""Whether a row has the same logits, to the last bit, whoever is beside it in a run: tried where it matters.

A kernel may add up the numbers of one row in another order than those of several. Of ONNX Runtime's, MatMulNBits with 4
bits does so for one row and for no other number of them on the processors that we measured (docs/adr/0017); then a run
of two rows at least, of which one may be made up, gives every row what it gets beside any others.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from toolkit.runtime.slots import Slots

__all__ = ["ROOM", "beside"]

LENGTHS = (33, 5, 70, 18)  # of the made-up texts, in tokens
STEPS = 2
ROOM = max(LENGTHS) + STEPS


def beside(slots: Slots, vocabulary: int) -> int | None:
    """How many rows a run must have at least for a row to be the same beside any others, up to all of `slots`: 1, 2, or
    None where there is no such number. Raises what the runtime raises."""
    rng = np.random.default_rng(0)
    lengths = [LENGTHS[row % len(LENGTHS)] for row in range(slots.rows)]
    tokens = rng.integers(0, vocabulary, (slots.rows, max(LENGTHS) + STEPS))
    for row, length in enumerate(lengths):
        slots.run(row, tokens[row : row + 1, :length], np.array([length]))
    all_of_them = _stepped(slots, tokens, lengths, range(slots.rows))
    same = [
        all(
            np.array_equal(_stepped(slots, tokens, lengths, range(first, first + rows)), all_of_them[first:][:rows])
            for first in range(0, slots.rows - rows + 1)
        )
        for rows in range(1, slots.rows)
    ]
    if not all(same[1:]):
        return None
    return 1 if same[0] else 2


def _stepped(slots: Slots, tokens: NDArray[np.int64], lengths: Sequence[int], rows: range) -> NDArray[np.float32]:
    """The logits (rows, steps, vocabulary) of tokens behind the texts of some neighbouring rows, which stay as they
    were."""
    before = np.array([lengths[row] for row in rows])
    logits = []
    for step in range(STEPS):
        ids = np.array([[tokens[row, lengths[row] + step]] for row in rows], np.int64)
        logits.append(slots.run(rows.start, ids, before + step + 1)[:, 0])
    return np.stack(logits, axis=1)
