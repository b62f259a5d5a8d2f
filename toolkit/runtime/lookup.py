"""Speculative decoding by prompt look-up: what stood before is taken to come again, and several tokens are run at once.

A run of several tokens takes less time than as many runs of one (Leviathan et al., "Fast Inference from Transformers
via Speculative Decoding", 2023). What to try costs nothing where an answer repeats its prompt: the tokens that followed
the last time these ones were there (Saxena, "Prompt Lookup Decoding", 2023). The text is the same whatever was tried:
each token is chosen from logits that were computed behind the very tokens that were chosen before it.

That holds to the last bit since no run has one token, neither where something is tried nor where nothing is. The
runtime's kernels for one row add up in another order than those for several; among runs of two and more, a token has
the same logits wherever it stands. Whether this is so, for these kernels on this processor, is looked at before
anything is tried (toolkit.runtime.alike).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from toolkit.runtime.cache import Cache

__all__ = ["RUN", "Ahead", "paired"]

RUN = 8  # the most tokens of a run; in longer ones a token takes hardly less time
FIRST = 3  # how many tokens are tried at first
WORDS = (3, 2, 1)  # how many tokens are looked up, the longest first


class Ahead:
    """Steps of one token, in runs of at least two. One answer, one thread."""

    def __init__(
        self,
        cache: Cache,
        ids: Sequence[int],
        room: int,
        tries: int = RUN - 1,
        forced: Callable[[], Sequence[int]] = tuple,
    ) -> None:
        """`ids` are the tokens of the prompt, all in the cache, which has `room`. At most `tries` tokens are tried at a
        time, none where it is 0. `forced` gives those that alone can come next, where that is known."""
        self._cache = cache
        self._room = room
        self._tries = tries
        self._forced = forced
        self._said: list[int] = []
        self._behind: dict[tuple[int, ...], int] = {}  # the place behind such tokens, the last time they were there
        for token in ids:
            self._add(token)
        self._length = FIRST
        self._taken = 0
        self._tried: deque[int] = deque()
        self._logits: deque[NDArray[np.float32]] = deque()
        self.runs = 0

    def step(self, ids: Sequence[int]) -> NDArray[np.float32]:
        """Add one token, and give the logits (1, vocabulary) of what comes after it. Raises what `Cache.step` does."""
        (token,) = ids
        self._add(token)
        if self._tried and self._tried.popleft() == token:
            self._taken += 1
            if not self._tried:  # all of them came
                self._length = min(2 * self._length, RUN - 1)
            return self._logits.popleft()
        if self._logits:  # some did not
            self._length = max(1, self._taken)
        self._cache.back(len(self._said) - 1)
        tried = self._next()
        # where nothing may be tried, what comes second is there for the length of the run alone
        run = [token, *(tried or [token])]
        logits = self._cache.step(run, keep=len(run))
        self.runs += 1
        self._taken, self._tried = 0, deque(tried)
        self._logits = deque(logits[1 : 1 + len(tried), None])
        return logits[:1]

    def _next(self) -> list[int]:
        """What to try: one token in any case, since a run has two, and more where the last tries went well."""
        free = min(self._tries, self._room - len(self._said))
        if free < 1:
            return []
        if forced := self._forced()[:free]:
            return list(forced)
        for size in WORDS:
            place = self._behind.get(tuple(self._said[-size:]))
            if place is not None:
                return self._said[place : place + (min(free, self._length) if size > 1 else 1)]
        return [self._said[-1]]

    def _add(self, token: int) -> None:
        for size in WORDS:
            if len(self._said) >= size:
                self._behind[tuple(self._said[-size:])] = len(self._said)
        self._said.append(token)


def paired(cache: Cache, part: Sequence[int]) -> NDArray[np.float32]:
    """Add a part of a prompt, in a run of at least two tokens: the logits (vocabulary,) of what comes after it. Raises
    what `Cache.step` does."""
    if len(part) == 1:
        logits = cache.step([*part, *part], keep=2)
        cache.back(cache.tokens - 1)
    else:
        logits = cache.step(part)
    row: NDArray[np.float32] = logits[0]
    return row
