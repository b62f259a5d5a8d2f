"""Who gets in at all: a rate for each key, before the gate, so that a flood costs neither a scan nor a record."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from typing import ClassVar

from policies.errors import Unusable

__all__ = ["RETRY_S", "Busy", "Rate"]

RETRY_S = 1


class Busy(Unusable):
    """Not now. `retry_after_s` says in how many seconds it is worth another try."""

    hints: ClassVar[Mapping[str, str]] = {
        "rate_exceeded": "Wait as long as Retry-After says; the operator sets the rate of a key under [serve].",
        "queue_full": "Wait as long as Retry-After says, and send fewer requests at once.",
        "bodies_full": "Wait as long as Retry-After says, and send smaller requests, or fewer at once.",
        "deadline_short": "Give more time in X-Timeout-Ms, or ask when the server is less busy.",
        "deadline_exceeded": "Give more time in X-Timeout-Ms, or ask when the server is less busy.",
    }

    def __init__(self, code: str, message: str, retry_after_s: int) -> None:
        super().__init__(code, message)
        self.retry_after_s = retry_after_s

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.code, str(self), self.retry_after_s)


class Rate:
    """A token bucket for each key: `burst` calls at once, `per_s` a second in the long run. For one thread."""

    def __init__(self, per_s: float, burst: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_s = per_s
        self._burst = burst
        self._clock = clock
        # one entry for each key that was ever used, and keys are made by the operator only
        self._buckets: dict[str, tuple[float, float]] = {}

    def take(self, key: str) -> None:
        """Count one call of the key. Raises Busy: rate_exceeded."""
        now = self._clock()
        left, at = self._buckets.get(key, (float(self._burst), now))
        left = min(self._burst, left + (now - at) * self._per_s)
        if left < 1:
            self._buckets[key] = left, now
            wait = math.ceil((1 - left) / self._per_s)
            raise Busy("rate_exceeded", f"the key may make {self._per_s:g} calls a second", max(RETRY_S, wait))
        self._buckets[key] = left - 1, now
