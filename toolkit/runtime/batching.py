"""Answers of one model made together: each waits in a thread of its own, and one run gives all of them a token.

What weights cost to read is then paid once for all (Yu et al., "Orca", 2022: a text joins and leaves between two runs).
Prompts are run between those, one part of one prompt at a time, so that nobody waits for more than one. All runs are
made by one thread, which is there as long as several ask; whoever asks sleeps meanwhile, and one alone runs for itself.

A row has the same logits whoever is beside it only where that was tested for the model on this host (see
toolkit.runtime.alike): a run then has `least` rows at least, and those that nobody asks for are made up.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from threading import Condition, Thread
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from policies.facts import Tensor
from toolkit.runtime.rows import Asked, Row, Window
from toolkit.runtime.sampling import GenerationError
from toolkit.runtime.slots import Slots

__all__ = ["Batching", "memory"]

ROOM = 512  # tokens for which rows get room at a time
# of the last run of some rows, how long the next one waits for those of them that have not chosen their token yet
PATIENCE = 0.25
IDLE_S = 0.2  # after so long without work the thread ends, though there are rows

Numbers = NDArray[np.float32]
T = TypeVar("T")


def memory() -> int:
    """Bytes that the rows of one model may take at most: half of what the machine has."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2


class Batching:
    """The rows of one model: `rows` of them beside each other, and as often as they are needed. For many threads.

    `most` bounds their memory, in bytes.
    """

    def __init__(
        self, session: Any, inputs: Sequence[Tensor], vocabulary: int, *, rows: int, least: int, most: int
    ) -> None:
        self._session = session
        self._inputs = inputs
        self._vocabulary = vocabulary
        self._rows = rows
        self._least = least
        self._most = most
        self._changed = Condition()
        self._tasks: deque[tuple[Callable[[], Any], Future[Any]]] = deque()
        self._prompts: deque[Asked] = deque()
        self._windows: tuple[Window, ...] = ()  # replaced, never changed: other threads look through it
        self._thread: Thread | None = None
        self._busy = False  # whether one who asks makes a run
        self._prompted = False  # whether the last run was one of a prompt

    def asked(self, one: Asked) -> tuple[Numbers, float]:
        """What a row asks for, and the seconds that it took another thread. Raises what the runtime raises."""
        with self._changed:
            window = one.row.here()
            if one.row.closed:
                raise ValueError("the cache is closed")
            # several tokens of a row are no matter of the others: the operator takes one of each
            single = len(one.ids) == 1
            alone = self._alone()
            if not alone:
                (window.asked if single else self._prompts).append(one)
                self._wake()
        if alone:
            self._here(lambda: self._together(window, [one]) if single else self._one(one))
            return one.given.result()[0], 0.0
        return one.given.result()

    def post(self, work: Callable[[], T]) -> Future[T]:
        """What `work` will give between two runs, or raise: before anything that is asked later."""
        future: Future[T] = Future()
        with self._changed:
            alone = self._alone()
            if not alone:
                self._later(work, future)
        if alone:
            self._here(lambda: _settle(work, future))
        return future

    def join(self, row: Row) -> None:
        """Between two runs: find room for a row. Raises GenerationError "generation_memory"."""
        room = -(-row.room // ROOM) * ROOM
        window = next((one for one in self._windows if one.tenant == row.tenant and None in one.rows), None)
        try:
            if window is None:
                window = Window(row.tenant, self._slots(room))
                self._windows = (*self._windows, window)
            elif window.slots.room < room:
                self._widen(window, room)
        except MemoryError:
            raise GenerationError("generation_memory", f"{row.room} tokens do not fit into memory") from None
        row.at = window.rows.index(None)
        row.window = window
        window.rows[row.at] = row
        window.idle[row.at] = 0

    def left(self, row: Row) -> None:
        """Let a row go after the run that is being made; what it asked for is not run any more."""

        def leave() -> None:
            window = row.window
            if window is None:
                return  # there was no room for it
            row.window = None
            window.slots.wipe(row.at, row.most + 1)
            window.rows[row.at] = None
            if not any(window.rows):
                self._windows = tuple(one for one in self._windows if one is not window)

        with self._changed:
            for waiting in (self._prompts, *(one.asked for one in self._windows)):
                for asked in [one for one in waiting if one.row is row]:
                    waiting.remove(asked)
                    asked.given.set_exception(ValueError("the cache was closed"))
            if row.window is not None:
                row.window.last.discard(row)
            self._later(leave, Future())

    def _slots(self, room: int) -> Slots:
        taken = sum(Slots.size(self._inputs, self._rows, one.slots.room) for one in self._windows)
        if taken + Slots.size(self._inputs, self._rows, room) > self._most:
            raise MemoryError
        return Slots(self._session, self._inputs, self._vocabulary, self._rows, room)

    def _widen(self, window: Window, room: int) -> None:
        wider = self._slots(room)
        for at, row in enumerate(window.rows):
            if row is not None:
                wider.write(at, 0, window.slots.read(at, 0, row.tokens))
                window.slots.wipe(at, row.most + 1)
        window.slots = wider

    def _alone(self) -> bool:
        """Whether the thread that asks may do what it asks for itself, and from now on does: to wake another takes a
        twentieth of a run."""
        if self._thread is not None or self._busy or self._open > 1 or self._waiting():
            return False
        self._busy = True
        return True

    def _here(self, turn: Callable[[], None]) -> None:
        try:
            turn()
        finally:
            with self._changed:
                self._busy = False
                if self._waiting():
                    self._wake()

    def _later(self, work: Callable[[], T], future: Future[T]) -> None:
        self._tasks.append((work, future))
        self._wake()

    def _wake(self) -> None:
        if self._thread is None and not self._busy:
            thread = Thread(target=self._work, name="answers")
            thread.start()
            self._thread = thread
        self._changed.notify()

    def _work(self) -> None:
        while (turn := self._turn()) is not None:
            turn()

    def _turn(self) -> Callable[[], None] | None:
        """What the thread does now; None when it is over."""
        with self._changed:
            while not callable(turn := self._next()):
                if self._waiting():
                    self._changed.wait(turn)
                elif self._open < 2 or not self._changed.wait_for(self._waiting, IDLE_S):
                    self._thread = None
                    return None
            return turn

    @property
    def _open(self) -> int:
        return sum(row is not None for one in self._windows for row in one.rows)

    def _waiting(self) -> bool:
        return bool(self._tasks or self._prompts or any(one.asked for one in self._windows))

    def _next(self) -> Callable[[], None] | float:
        """What to do now, or how many seconds to wait for rows. Rows and prompts take turns."""
        if self._tasks:
            work, future = self._tasks.popleft()
            return lambda: _settle(work, future)
        now = time.monotonic()
        ready = next((one for one in self._windows if one.ready(now)), None)
        begun = [one.until - now for one in self._windows if one.asked]
        if self._prompts and not (self._prompted and begun):
            asked = self._prompts.popleft()
            self._prompted = True
            return lambda: self._one(asked)
        if ready is not None:
            # the next time it is the turn of others
            self._windows = (*(one for one in self._windows if one is not ready), ready)
            together, ready.asked = ready.asked, []
            self._prompted = False
            return lambda: self._together(ready, together)
        return max(0.0, min(begun, default=0.0))

    def _one(self, asked: Asked) -> None:
        """Several tokens of one row."""
        row = asked.row

        def run(window: Window) -> Numbers:
            ids = np.array([asked.ids], np.int64)
            return window.slots.run(row.at, ids, np.array([row.tokens + len(asked.ids)], np.int64), asked.keep)

        self._given(row.window, [asked], run)

    def _together(self, window: Window, asked: list[Asked]) -> None:
        """One token of each of several rows."""
        began = time.monotonic()
        self._given(window, asked, lambda window: window.run(asked, self._least))
        ended = time.monotonic()
        window.last = {one.row for one in asked if not one.row.closed}
        window.until = ended + PATIENCE * (ended - began)

    def _given(self, window: Window | None, asked: list[Asked], run: Callable[[Window], Numbers]) -> None:
        """Give each its logits (kept, vocabulary), or what went wrong."""
        began = time.thread_time()
        try:
            if window is None:
                raise ValueError("the cache is closed")
            logits = run(window)
        except BaseException as error:  # noqa: BLE001 - whatever it is, those who wait must know, and others go on
            for one in asked:
                one.given.set_exception(error)
            return
        seconds = (time.thread_time() - began) / len(asked)
        for one, row in zip(asked, logits, strict=True):
            one.row.grown(len(one.ids))
            one.given.set_result((row, seconds))


def _settle(work: Callable[[], T], future: Future[T]) -> None:
    try:
        future.set_result(work())
    except BaseException as error:  # noqa: BLE001 - it is for whoever asked, not for this thread
        future.set_exception(error)
