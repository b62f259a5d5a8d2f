"""Who gets in at all: limits for each account, before the gate, so that a flood costs neither a scan nor a record."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import ClassVar

from policies.errors import Unusable
from serve.buckets import Buckets, Full, Slot, make

__all__ = ["RETRY_S", "Admission", "Busy"]

RETRY_S = 1
REMEMBERED = 8_192


class Busy(Unusable):
    """Not now. `retry_after_s` says in how many seconds it is worth another try."""

    hints: ClassVar[Mapping[str, str]] = {
        "rate_exceeded": "Wait as long as Retry-After says; the operator sets the rate of a key, or of all in [serve].",
        "concurrency_exceeded": "Wait for an answer before you send the next call, or ask the operator for more.",
        "callers_exceeded": "Wait as long as Retry-After says: the server keeps count of so many callers at once.",
        "queue_full": "Wait as long as Retry-After says, and send fewer requests at once.",
        "tokens_exceeded": "Wait as long as Retry-After says, or ask for fewer tokens: prompt and answer count, the "
        "answer by the most that it may take until it is there.",
        "tokens_full": "Wait as long as Retry-After says, and send shorter prompts, or ask for fewer tokens.",
        "bodies_full": "Wait as long as Retry-After says, and send smaller requests, or fewer at once.",
        "deadline_short": "Give more time in X-Timeout-Ms, or ask when the server is less busy.",
        "deadline_exceeded": "Give more time in X-Timeout-Ms, or ask when the server is less busy.",
    }

    def __init__(self, code: str, message: str, retry_after_s: int) -> None:
        super().__init__(code, message)
        self.retry_after_s = retry_after_s

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.code, str(self), self.retry_after_s)


class Admission:
    """The limits of accounts, kept by all workers of a server together: how many calls a second, and at the same time.

    `descriptor` is the memory that the workers share and `worker` the number of this one; alone, neither is needed.
    The clock is CLOCK_MONOTONIC, which on Linux is one for all processes of a machine (clock_gettime(2)), and which
    nobody can set. For one thread.
    """

    def __init__(
        self, descriptor: int | None = None, worker: int = 0, clock: Callable[[], int] = time.monotonic_ns
    ) -> None:
        own = make(1) if descriptor is None else descriptor
        try:
            self._buckets = Buckets(own, worker)
        finally:
            if descriptor is None:
                os.close(own)
        self._clock = clock
        self._slots: dict[str, Slot] = {}

    def enter(self, account: str, per_s: float, burst: int, concurrent: int | None = None) -> Callable[[], None]:
        """Count a call: `burst` at once, `per_s` a second in the long run, `concurrent` at the same time.

        What is returned is called once when the call is over. A call that is refused is not counted. Raises Busy:
        rate_exceeded, concurrency_exceeded; callers_exceeded when the table has no room for one more account.
        """
        slot = self._slots.get(account) or self._slot(account)
        # a virtual schedule says the same as a bucket of tokens, in one number: ITU-T I.371, the algorithm GCRA
        every = max(1, round(1e9 / per_s))
        buckets = self._buckets
        buckets.lock()
        try:
            # not before: who waits for the lock must not bring a time that is gone
            now = self._clock()
            at = buckets.find(slot, now)
            if concurrent is not None and buckets.running(at) >= concurrent:
                raise Busy("concurrency_exceeded", f"{concurrent} calls of the key are running already", RETRY_S)
            # never further ahead than an empty bucket, whoever wrote it
            ahead = min(max(0, buckets.when(at) - now), burst * every)
            if (wait := ahead - (burst - 1) * every) > 0:
                said = f"the key may make {per_s:g} calls a second"
                raise Busy("rate_exceeded", said, max(RETRY_S, -(-wait // 10**9)))
            buckets.set_when(at, now + ahead + every)
            if concurrent is None:
                return _nothing
            buckets.count(at, 1)
        except Full:
            raise Busy("callers_exceeded", "too many callers came at once", RETRY_S) from None
        finally:
            buckets.unlock()
        return partial(buckets.count, at, -1)

    def close(self) -> None:
        self._buckets.close()

    def _slot(self, account: str) -> Slot:
        if len(self._slots) >= REMEMBERED:
            self._slots.clear()
        slot = self._slots[account] = self._buckets.slot(account)
        return slot


def _nothing() -> None:
    pass
