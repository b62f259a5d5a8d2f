"""The queue before a model: bounded, with deadlines, and worked off by lanes, each a thread.

Jobs go in and answers come out on the thread of the event loop; between them everything that a call needs, its gate,
its run, its record and its answer, happens in one lane, so that a call changes threads twice and no more.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from itertools import islice
from queue import SimpleQueue
from threading import Lock, Thread, get_native_id
from typing import ClassVar

from policies.errors import Fault, Unusable
from policies.payload import Payload
from serve.admission import Busy
from toolkit.box import Context
from toolkit.model import Answer, Asked, Model

__all__ = ["Abandoned", "Job", "Queue", "retry_s", "step_back"]

# Jobs that a lane prepares together, runs one after the other, and answers together. After an inference little of what
# the gate, the record and the answer need is still in the processor's caches; so a few calls share the way back.
BURST = 4
# How much nicer a lane is than the event loop: what takes in, refuses and answers is over soon, and many wait for it;
# and a lane that has to wait for the interpreter gets it sooner from a loop that is not kept from a core.
NICER, LOWEST = 5, 19
LOOK_AHEAD = 64  # jobs that are looked through for those that may share a batch
# of what is known of the speed, how much the last batch counts
FRESH = 0.1
# what a job costs at least, in the units of a reader: a text of a few words costs more than its letters
LEAST = 32


class Abandoned(Unusable):
    """Nobody waits for the answer any more."""

    hints: ClassVar[Mapping[str, str]] = {"request_abandoned": "Ask again, and stay until the answer comes."}


Content = tuple[bytes, Mapping[str, str]]  # the body of an answer, and headers


class Job:
    """What one request asks. `gone` tells whether the client is.

    `deadline` is on the clock of `time.monotonic`, and so are `came`, when the job was made, `began`, when a lane took
    it, and `ended`, when its answer was written; the last two are None as long as it did not come to that. `led` is how
    many jobs the lane took with it, itself included, and 0 for those that were taken with another.
    """

    __slots__ = (
        "_counted", "_open", "_payload", "_written", "began", "came", "deadline", "done", "ended", "gone", "led",
        "size", "tenant",
    )  # fmt: skip

    def __init__(
        self,
        payload: Payload,
        counted: AbstractContextManager[Context],
        *,
        size: int,
        tenant: str,
        deadline: float | None,
        gone: Callable[[], bool],
        written: Callable[[Model, Answer | Exception], Content],
    ) -> None:
        """`counted` counts the call and gives the context that it is decided in; `written` makes an answer, or what
        went wrong, into what goes out. Both are called in a lane."""
        self._payload = payload
        self._counted = counted
        self._open = ExitStack()
        self.size = max(size, LEAST)
        self.tenant = tenant
        self.deadline = deadline
        self.gone = gone
        self.came = time.monotonic()
        self.began: float | None = None
        self.ended: float | None = None
        self.led = 0
        self._written = written
        self.done: asyncio.Future[Content] = asyncio.get_running_loop().create_future()

    def must_wait(self) -> None:
        """Raises Abandoned for a client that is gone, Busy: deadline_exceeded when its time is over."""
        if self.gone():
            raise Abandoned("request_abandoned", "the client went away")
        if self.deadline is not None and time.monotonic() > self.deadline:
            raise Busy("deadline_exceeded", "the time that the request gave is over", 1)

    def begin(self) -> Asked:
        """What the model is asked. Raises what `must_wait` raises, StateError where the call cannot be counted."""
        self.must_wait()
        return Asked(self._payload, self._open.enter_context(self._counted))

    def finish(self, model: Model, answer: Answer | Exception) -> Content | Exception:
        """What goes out, for whoever waits for `done`."""
        try:
            with self._open:
                return self._written(model, answer)
        except Exception as error:  # noqa: BLE001 - whatever it is, somebody waits for it
            return error
        finally:
            self.ended = time.monotonic()


Over = list[tuple[Job, Content | Exception]]  # what goes out for each


class Queue:
    """For one model. `capacity` jobs may wait, beside one for each lane."""

    def __init__(self, model: Model, capacity: int = 64) -> None:
        self.model = model
        self.lanes = model.plan.lanes
        self.capacity = capacity
        self._batch = model.plan.batch
        self._jobs: deque[Job] = deque()
        self._wake: SimpleQueue[bool] = SimpleQueue()
        self._lock = Lock()
        self._running = 0
        self._size = 0  # of all that wait or run
        self._pace = model.plan.pace
        self._stopped = False
        self._threads = [Thread(target=self._lane, name=f"lane-{number}", daemon=True) for number in range(self.lanes)]
        for thread in self._threads:
            thread.start()

    @property
    def inside(self) -> int:
        """Jobs that wait or run."""
        return len(self._jobs) + self._running

    @property
    def waiting(self) -> int:
        """Jobs beyond one for each lane."""
        return max(0, self.inside - self.lanes)

    @property
    def wait_s(self) -> float:
        """How long a job that comes now is likely to wait for a lane."""
        return self._size * self._pace / self.lanes if self.inside >= self.lanes else 0.0

    @property
    def promise_s(self) -> float:
        """How long a job that was taken waits at most when all are like those that came of late."""
        mean = self._size / max(1, self.inside) or LEAST
        return (self.capacity + self.lanes) * mean * self._pace / self.lanes

    @property
    def full(self) -> bool:
        return self.inside >= self.lanes + self.capacity

    def busy(self) -> Busy:
        """What a request is told that does not find a place."""
        return Busy("queue_full", f"{self.capacity} requests wait for this model already", retry_s(self.wait_s))

    def put(self, job: Job) -> bool:
        """Take a job in, at once or not at all; False when this queue was stopped, and another may take it.

        Raises Busy: queue_full; deadline_short when the job would wait longer than its deadline allows.
        """
        if self._stopped:
            return False
        if self.full:
            raise self.busy()
        wait = self.wait_s
        if job.deadline is not None and time.monotonic() + wait > job.deadline:
            said = "the request would wait longer than the time that it gives"
            raise Busy("deadline_short", said, retry_s(wait))
        with self._lock:
            self._size += job.size
            self._jobs.append(job)
        self._wake.put(True)
        return True

    def stop(self) -> None:
        """Take nothing more; the lanes end once all that waits is answered."""
        self._stopped = True
        for _ in self._threads:
            self._wake.put(False)

    def join(self, timeout_s: float) -> None:
        """Wait until the lanes have ended."""
        until = time.monotonic() + timeout_s
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))

    def _lane(self) -> None:
        step_back(NICER)
        while self._wake.get():
            jobs = self._taken()
            if not jobs:
                continue  # others took what this call was for into their batch
            size = sum(job.size for job in jobs)
            over: Over = []
            try:
                over = self._work(jobs)
            finally:
                with self._lock:
                    self._running -= len(jobs)
                    self._size -= size
            _hand_over(over)

    def _taken(self) -> list[Job]:
        """The oldest job, and those that are worked off together with it."""
        with self._lock:
            if not self._jobs:
                return []
            first = self._jobs.popleft()
            jobs = [first]
            # no more than a fair share, so that no lane stands still
            most = min(max(self._batch, BURST), 1 + len(self._jobs) // self.lanes)
            for job in islice(list(self._jobs), LOOK_AHEAD):
                if len(jobs) >= most:
                    break
                # those that run alone may be anyone's
                if self._batch == 1 or job.tenant == first.tenant:
                    jobs.append(job)
                    self._jobs.remove(job)
            self._running += len(jobs)
        return jobs

    def _work(self, jobs: Sequence[Job]) -> Over:
        """What goes out to those that are run; the others are told at once that they are not."""
        waited: list[Job] = []
        asked: list[Asked] = []
        over: Over = []
        for job in jobs:
            try:
                asked.append(job.begin())
            except Fault as fault:
                over.append((job, job.finish(self.model, fault)))
            else:
                waited.append(job)
        _hand_over(over)
        if not waited:
            return []
        began = time.monotonic()
        waited[0].led = len(waited)
        for job in waited:
            job.began = began
        answers: Sequence[Answer | Exception]
        try:
            answers = self.model.answers(asked, lambda place: waited[place].must_wait())
        except Exception as error:  # noqa: BLE001 - whatever it is, the lane goes on
            answers = [error] * len(waited)
        took = time.monotonic() - began
        done = [(job, job.finish(self.model, answer)) for job, answer in zip(waited, answers, strict=True)]
        if all(isinstance(answer, Answer) for answer in answers):
            self._pace += FRESH * (took / sum(job.size for job in waited) - self._pace)
        return done


def step_back(by: int) -> None:
    """Let this thread, and those that it begins, be so much nicer than the process is."""
    if sys.platform == "linux":  # elsewhere a thread has no priority of its own
        os.setpriority(os.PRIO_PROCESS, get_native_id(), min(LOWEST, os.getpriority(os.PRIO_PROCESS, 0) + by))


def retry_s(wait_s: float) -> int:
    """In how many seconds to come again, where others wait so long."""
    return max(1, round(wait_s + 0.5))


def _hand_over(over: Over) -> None:
    """To the event loop, all at once: each time that it is woken takes a core from the lanes."""
    if over:
        over[0][0].done.get_loop().call_soon_threadsafe(_settle, over)


def _settle(over: Over) -> None:
    for job, content in over:
        if job.done.done():
            continue
        if isinstance(content, Exception):
            job.done.set_exception(content)
        else:
            job.done.set_result(content)
