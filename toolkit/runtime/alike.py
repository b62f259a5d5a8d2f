"""Whether logits are the same, to the last bit, whatever else is in a run: tried where it matters.

A kernel may add up the numbers of one row in another order than those of several. Of ONNX Runtime's, MatMulNBits with 4
bits does so for one row and for no other number of them on the processors that we measured (docs/adr/0017); then a run
of two rows at least, of which one may be made up, gives every row what it gets beside any others. In the same way a
token may get other logits when it is run alone than when others of its text are run with it (docs/adr/0018).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from toolkit.runtime.cache import Cache
from toolkit.runtime.lookup import RUN
from toolkit.runtime.slots import Block, Slots

__all__ = ["FAR", "ROOM", "beside", "in_runs"]

LENGTHS = (33, 5, 70, 18)  # of the made-up texts, in tokens
STEPS = 2
ROOM = max(LENGTHS) + STEPS
FAR = 600  # tokens of the longest made-up text behind which runs are tried


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


def in_runs(cache: Cache, vocabulary: int) -> bool:
    """Whether tokens have the same logits, and leave the same keys and values, in runs of two to `RUN`: tried in an
    empty cache behind texts of several lengths, as far as it has room. Raises what the runtime raises."""
    tokens = np.random.default_rng(0).integers(0, vocabulary, FAR + RUN).tolist()
    most = min(FAR, cache.room - RUN)
    lengths = sorted({length for length in (*LENGTHS, most) if 0 < length <= most})
    for length in lengths:
        cache.back(0)
        cache.step(tokens[:length])
        if not _same_in_runs(cache, tokens[length : length + RUN]):
            return False
    return bool(lengths)


def _same_in_runs(cache: Cache, run: Sequence[int]) -> bool:
    at = cache.tokens
    one_by_one: list[NDArray[np.float32]] = []
    for token in run[:-1]:
        # what comes second is made up, and is another one than in the longer runs
        one_by_one.append(cache.step([token, run[0]], keep=2)[0])
        cache.back(cache.tokens - 1)
    left = _left(cache, at, at + RUN - 1)
    for size in range(2, RUN + 1):
        cache.back(at)
        logits = cache.step(run[:size], keep=size)
        again = _left(cache, at, at + min(size, RUN - 1))
        if not all(np.array_equal(one, row) for one, row in zip(one_by_one, logits, strict=False)):
            return False
        if not all(np.array_equal(one[:, :size], row) for one, row in zip(left, again, strict=True)):
            return False
    return True


def _left(cache: Cache, first: int, last: int) -> Block:
    """What the tokens from `first` to before `last` left in the cache."""
    found: list[Block] = []
    cache.read([(first, last)], found.extend)
    return found[0]


def _stepped(slots: Slots, tokens: NDArray[np.int64], lengths: Sequence[int], rows: range) -> NDArray[np.float32]:
    """The logits (rows, steps, vocabulary) of tokens behind the texts of some neighbouring rows, which stay as they
    were."""
    before = np.array([lengths[row] for row in rows])
    logits = []
    for step in range(STEPS):
        ids = np.array([[tokens[row, lengths[row] + step]] for row in rows], np.int64)
        logits.append(slots.run(rows.start, ids, before + step + 1)[:, 0])
    return np.stack(logits, axis=1)
