"""Rows of a run: one answer's place among others, and those that lie beside each other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from toolkit.runtime.cache import Span
from toolkit.runtime.slots import Block, Slots

if TYPE_CHECKING:
    from toolkit.runtime.batching import Batching

__all__ = ["Asked", "Row", "Window"]

IDLE_RUNS = 16  # so often a row that asks for nothing is run beside others; then it is put behind them

Numbers = NDArray[np.float32]


class Row:
    """A Place beside others (see toolkit.runtime.cache). `spent` is told of the processor's time that it took in the
    other thread, in seconds: of a run for several rows, the same for each."""

    def __init__(self, batching: Batching, tenant: str, room: int, spent: Callable[[float], None]) -> None:
        """Raises GenerationError "generation_memory"."""
        self.tokens = 0
        self.most = 0  # to where there is something to wipe
        self.room = room
        self.tenant = tenant
        self.window: Window | None = None
        self.at = 0
        self.closed = False
        self._batching = batching
        self._spent = spent
        try:
            batching.post(lambda: batching.join(self)).result()
        except BaseException:
            self.close()  # it may be taken in yet, when the wait was interrupted
            raise

    def run(self, ids: Sequence[int], keep: int) -> Numbers:
        """See Cache."""
        logits, seconds = self._batching.asked(Asked(self, ids, keep))
        self._spent(seconds)
        return logits

    def read(self, spans: Sequence[Span], give: Callable[[list[Block]], None]) -> None:
        """See Cache. Waits for nothing."""

        def copy() -> None:
            slots = self.here().slots
            give([slots.read(self.at, first, last) for first, last in spans])

        self._batching.post(copy)

    def write(self, blocks: Sequence[Block]) -> None:
        """See Cache."""

        def put() -> None:
            slots = self.here().slots
            for block in blocks:
                slots.write(self.at, self.tokens, block)
                self.grown(block[0].shape[1])

        self._batching.post(put).result()

    def close(self) -> None:
        """See Cache. Waits for nothing: it may be called from anywhere, also while an object is collected."""
        if not self.closed:
            self.closed = True
            self._batching.left(self)

    def grown(self, tokens: int) -> None:
        """There are so many more."""
        self.tokens += tokens
        self.most = max(self.most, self.tokens)

    def here(self) -> Window:
        """Where it lies. Raises ValueError when it has left."""
        if self.window is None:
            raise ValueError("the cache is closed")
        return self.window


class Asked:
    """Tokens that a row wants to go on with, and who waits for them."""

    def __init__(self, row: Row, ids: Sequence[int], keep: int) -> None:
        self.row = row
        self.ids = ids
        self.keep = keep
        self.given: Future[tuple[Numbers, float]] = Future()


class Window:
    """Rows of one tenant that lie beside each other."""

    def __init__(self, tenant: str, slots: Slots) -> None:
        self.tenant = tenant
        self.slots = slots
        self.rows: list[Row | None] = [None] * slots.rows
        self.idle = [0] * slots.rows
        self.asked: list[Asked] = []
        self.last: set[Row] = set()  # who was in the last run, and will ask again soon
        self.until = 0.0  # and to when they are waited for

    def ready(self, now: float) -> bool:
        """Whether its rows can be run: all that are expected have asked, or were waited for long enough."""
        return bool(self.asked) and (now >= self.until or self.last <= {one.row for one in self.asked})

    def run(self, asked: Sequence[Asked], least: int) -> Numbers:
        """One token of each: the logits (asked, 1, vocabulary). At least so many rows are run."""
        first, last = self._range(asked, least)
        rows = self.rows[first : last + 1]
        ids = np.zeros((len(rows), 1), np.int64)
        # a row that is run though it asked for nothing writes behind what it has
        lengths = np.array([1 if row is None else row.tokens + 1 for row in rows], np.int64)
        for one in asked:
            ids[one.row.at - first] = one.ids[0]
        logits = self.slots.run(first, ids, lengths)
        return logits[[one.row.at - first for one in asked]]

    def _range(self, asked: Sequence[Asked], least: int) -> tuple[int, int]:
        """The first and the last of neighbouring rows that have all that asked, and at least as many as a run must."""
        asking = {one.row.at for one in asked}
        last = max(asking)
        for at in range(min(asking), last):
            self.idle[at] = 0 if at in asking else self.idle[at] + 1
            if self.idle[at] >= IDLE_RUNS:
                self._exchange(at, last)
                asking = {one.row.at for one in asked}
                break
        first, last = min(asking), max(asking)
        while last - first + 1 < least:
            first, last = (first, last + 1) if last + 1 < len(self.rows) else (first - 1, last)
        return first, last

    def _exchange(self, one: int, other: int) -> None:
        rows = self.rows
        most = max(0 if row is None else row.most for row in (rows[one], rows[other]))
        self.slots.exchange(one, other, most + 1)  # with what a run wrote behind a row that asked for nothing
        rows[one], rows[other] = rows[other], rows[one]
        self.idle[one] = 0
        for at in (one, other):
            row = rows[at]
            if row is not None:
                row.at = at
