"""Before a model that generates: so many answers at a time, each in a thread, and a bounded number of tokens.

A request counts for the tokens of its prompt and for as many as it may be answered with, from when it is taken until it
is over: ten short ones are no more than one that is long.
"""

from __future__ import annotations

import time
from collections import deque
from functools import partial
from threading import Condition, Thread

from policies.errors import Fault
from serve.admission import Busy
from serve.answering import Answering
from serve.queue import NICER, retry_s, step_back
from toolkit.generating import GenerationStopped
from toolkit.model import Model

__all__ = ["ENDED", "Places"]

ENDED = "the server ends"
JOIN_S = 3.0
FRESH = 0.2  # of what is known of the speed, how much the last answer counts


class Places:
    """Of one model: `places` answers at a time. `capacity` more may wait, and all together hold `most` tokens; one that
    alone takes more is taken when there is no other. `put` and `stop` are for the thread of the event loop."""

    def __init__(self, model: Model, places: int) -> None:
        self.model = model
        self.places = places
        self.capacity = 64
        self.most = 32_768
        self._changed = Condition()
        self._waiting: deque[Answering] = deque()
        self._running: set[Answering] = set()
        self._held = 0
        self._pace = 0.0  # seconds for a token of all answers together, 0 as long as that is not known
        self._stopped = False
        self._threads = [Thread(target=self._place, name=f"answers-{at}", daemon=True) for at in range(places)]
        for thread in self._threads:
            thread.start()

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    @property
    def running(self) -> int:
        return len(self._running)

    @property
    def held(self) -> int:
        """Tokens of all that run or wait, at most."""
        return self._held

    @property
    def full(self) -> bool:
        return self._crowded or self._held >= self.most

    def busy(self, tokens: int = 1) -> Busy:
        """What a request for so many tokens is told that does not find a place."""
        if self._crowded:
            wait = self._held / max(1, self.waiting + self.running) * self._pace
            return Busy("queue_full", f"{self.capacity} requests wait for this model already", retry_s(wait))
        wait = max(0, self._held + tokens - self.most) * self._pace
        said = f"those that run or wait may take {self._held} of {self.most} tokens, and this one {tokens}"
        return Busy("tokens_full", said, retry_s(wait))

    def put(self, answering: Answering) -> bool:
        """Take it in, at once or not at all; False when these were stopped, and others may take it.

        Raises Busy: queue_full, tokens_full.
        """
        with self._changed:
            if self._stopped:
                return False
            if self._crowded or (self._held and self._held + answering.tokens > self.most):
                raise self.busy(answering.tokens)
            answering.wait(partial(self._withdraw, answering))
            self._held += answering.tokens
            self._waiting.append(answering)
            self._changed.notify()
        return True

    def stop(self) -> None:
        """Take nothing more; the threads end once all that waits is answered."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def close(self) -> None:
        """End now: what runs is stopped, which is put on record."""
        self.stop()
        with self._changed:
            inside = [*self._waiting, *self._running]
        ended: Fault = GenerationStopped("generation_stopped", ENDED)
        for answering in inside:
            answering.stop(ended)
        until = time.monotonic() + JOIN_S
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))

    @property
    def _crowded(self) -> bool:
        return self.waiting + self.running >= self.places + self.capacity

    def _withdraw(self, answering: Answering) -> bool:
        """Whether it waited until now; then it does so no more."""
        with self._changed:
            if answering not in self._waiting:
                return False
            self._waiting.remove(answering)
            self._held -= answering.tokens
        return True

    def _place(self) -> None:
        # what is asked of the other models is over soon, and should not wait for a long answer
        step_back(2 * NICER)
        while (answering := self._next()) is not None:
            answering.run(self.model, partial(self._leave, answering))

    def _next(self) -> Answering | None:
        with self._changed:
            while not self._waiting:
                if self._stopped:
                    return None
                self._changed.wait()
            answering = self._waiting.popleft()
            self._running.add(answering)
            return answering

    def _leave(self, answering: Answering) -> None:
        used = answering.used.get("tokens", 0)
        with self._changed:
            if used and answering.began is not None:
                took = (time.monotonic() - answering.began) / used / len(self._running)
                self._pace = took if not self._pace else self._pace + FRESH * (took - self._pace)
            self._running.discard(answering)
            self._held -= answering.tokens
