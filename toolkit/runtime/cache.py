"""The keys and values of one text that is being generated, wherever they lie: alone, or in a row beside others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from toolkit.runtime.slots import Block, Slots

__all__ = ["Alone", "Cache", "Place", "Span"]

Numbers = NDArray[np.float32]
Span = tuple[int, int]  # the first token, and the one behind the last


class Place(Protocol):
    """Where a text lies: `tokens` of it so far, of `room`. One thread at a time."""

    tokens: int
    room: int

    def run(self, ids: Sequence[int], keep: int) -> Numbers:
        """Add tokens: the logits (keep, vocabulary) of what comes after each of the last `keep` of them."""
        ...

    def read(self, spans: Sequence[Span], give: Callable[[list[Block]], None]) -> None: ...
    def write(self, blocks: Sequence[Block]) -> None: ...
    def close(self) -> None: ...


class Cache:
    """One text, and how it is gone on with. One thread at a time; `close` it, or leave it as a context."""

    def __init__(self, place: Place) -> None:
        self._place = place

    @property
    def tokens(self) -> int:
        return self._place.tokens

    @property
    def room(self) -> int:
        return self._place.room

    def step(self, ids: Sequence[int], *, keep: int = 1) -> Numbers:
        """Add tokens, and give the logits (keep, vocabulary) of what comes after each of the last `keep` of them.

        Raises ValueError where there is no room or are fewer tokens than `keep`, and what the runtime raises.
        """
        place = self._place
        if not 1 <= keep <= len(ids) or place.tokens + len(ids) > place.room:
            raise ValueError(f"{len(ids)} tokens, {keep} with logits, do not go behind {place.tokens} of {place.room}")
        return place.run(ids, keep)

    def back(self, tokens: int) -> None:
        """Forget what came after so many tokens. Raises ValueError where there are not so many.

        Nothing is wiped: what lies behind the last token is never looked at, and written over by the next step.
        """
        if not 0 <= tokens <= self.tokens:
            raise ValueError(f"there are {self.tokens} tokens, not {tokens}")
        self._place.tokens = tokens

    def read(self, spans: Sequence[Span], give: Callable[[list[Block]], None]) -> None:
        """Give a copy of what the tokens of each span left: before the next step, perhaps in another thread.

        Raises ValueError where there are not so many.
        """
        if any(not 0 <= first < last <= self.tokens for first, last in spans):
            raise ValueError(f"there are {self.tokens} tokens, not {spans}")
        self._place.read(spans, give)

    def write(self, blocks: Sequence[Block]) -> None:
        """Add tokens by what they left in a cache of the same model, behind the same tokens. Raises ValueError where
        there is no room."""
        added = sum(block[0].shape[1] for block in blocks)
        if self.tokens + added > self._place.room:
            raise ValueError(f"{added} tokens do not go behind {self.tokens} of {self._place.room}")
        self._place.write(blocks)

    def close(self) -> None:
        """Give the place back, and wipe it. May be called again."""
        self._place.close()

    def __enter__(self) -> Cache:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Alone:
    """A place of its own, which is run by the thread that asks."""

    def __init__(self, slots: Slots) -> None:
        """`slots` has one row."""
        self._slots: Slots | None = slots
        self._most = 0
        self.tokens = 0
        self.room = slots.room

    def run(self, ids: Sequence[int], keep: int) -> Numbers:
        """See Cache."""
        total = self.tokens + len(ids)
        self._most = max(self._most, total)
        logits: Numbers = self._open().run(0, np.array([ids], np.int64), np.array([total], np.int64), keep)[0]
        self.tokens = total
        return logits

    def read(self, spans: Sequence[Span], give: Callable[[list[Block]], None]) -> None:
        """See Cache."""
        slots = self._open()
        give([slots.read(0, first, last) for first, last in spans])

    def write(self, blocks: Sequence[Block]) -> None:
        """See Cache."""
        for block in blocks:
            self._open().write(0, self.tokens, block)
            self.tokens += block[0].shape[1]
        self._most = max(self._most, self.tokens)

    def close(self) -> None:
        """See Cache."""
        slots, self._slots = self._slots, None
        if slots is not None:
            slots.wipe(0, self._most)

    def _open(self) -> Slots:
        if self._slots is None:
            raise ValueError("the cache is closed")
        return self._slots
