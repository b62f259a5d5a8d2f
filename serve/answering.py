"""One answer of a model that generates: made in a thread, taken piece by piece on the event loop.

What is made waits in between, as much as was asked for and no more: whoever reads slowly holds no thread, and one that
is gone ends the run before its next token.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from threading import Lock
from typing import Literal

from msgspec import Struct

from policies.errors import Denied, Fault
from policies.outgoing import OutputRefused
from serve.admission import Busy
from serve.queue import Abandoned
from toolkit.box import Context
from toolkit.generating import GenerationStopped, Stream
from toolkit.model import Model
from toolkit.runtime.generation import Finish, Logprob
from toolkit.runtime.sampling import Sampling

__all__ = ["Answering", "Piece", "Prompt"]

Prompt = str | Sequence[Mapping[str, str]]


class Piece(Struct, frozen=True, kw_only=True):
    """A chunk of an answer, which the policy may have ended, too."""

    text: str
    logprobs: tuple[Logprob, ...] = ()
    finish: Finish | Literal["content_filter"] | None = None


class Answering:
    """What one request asks of a model that generates. Made on the thread of the event loop.

    `tokens` is how many prompt and answer take at most. `came`, `began`, `first`, `last` and `ended` are on the clock
    of `time.monotonic`: when it was made, when a thread took it, when its first piece was there and its last so far,
    and when it was on record; None as long as it did not come to that. `stream` is there from the first piece on, and
    `receipt` shows at the end that the answer, or its refusal, is on record.
    """

    def __init__(
        self,
        prompt: Prompt,
        sampling: Sampling,
        counted: AbstractContextManager[Context],
        *,
        tokens: int,
        deadline: float | None,
        gone: Callable[[], bool],
    ) -> None:
        """`counted` counts the call and gives the context that it is decided in; it is entered in the thread."""
        self._prompt = prompt
        self._sampling = sampling
        self._counted = counted
        self._gone = gone
        self._loop = asyncio.get_running_loop()
        self._wake = asyncio.Event()
        self._done = asyncio.Event()
        self._called = True  # nobody waits yet
        self._ready: deque[Piece] = deque()
        self._lock = Lock()
        self._stopped: Fault | None = None
        self._failed: Exception | None = None
        self._over = False
        self._deadline = deadline
        self._timer: asyncio.TimerHandle | None = None
        self._withdraw: Callable[[], bool] = lambda: False
        self.tokens = tokens
        self.stream: Stream | None = None
        self.receipt: bytes | None = None
        self.came = time.monotonic()
        self.began: float | None = None
        self.first: float | None = None
        self.last: float | None = None
        self.ended: float | None = None

    @property
    def used(self) -> Mapping[str, int]:
        """The tokens that it took, once it is over."""
        return {} if self.stream is None else self.stream.usage

    def wait(self, withdraw: Callable[[], bool]) -> None:
        """It has a place, or waits for one until `withdraw` gives that up. For the thread of the event loop."""
        self._withdraw = withdraw
        if self._deadline is not None:
            late = Busy("deadline_exceeded", "the time that the request gave is over", 1)
            self._timer = self._loop.call_at(self._deadline, self.stop, late)

    def stop(self, fault: Fault) -> None:
        """Let no further token be made: whoever waits gets the fault. For the thread of the event loop."""
        self._halt(fault)
        if self._withdraw():  # nobody had begun with it
            self._end(fault)

    def run(self, model: Model, over: Callable[[], None]) -> None:
        """Make the answer, to its end or until it is stopped. Called once, in a thread; raises nothing. `over` is
        called before whoever waits hears of the end."""
        failed: Exception | None = None
        try:
            self._run(model)
        except Exception as error:  # noqa: BLE001 - whatever it is, somebody waits for it
            # who was stopped hears why
            failed = self._stopped if isinstance(error, GenerationStopped) and self._stopped is not None else error
            with suppress(Exception):  # of what is not on record there is none
                if isinstance(error, Denied):
                    self.receipt = model.receipt(error)
                elif self.stream is not None and self.stream.written:
                    self.receipt = model.receipt(self.stream)
        over()
        self._end(failed)

    async def pieces(self) -> Sequence[Piece]:
        """What there is that was not taken yet, once there is something; empty at the end. Raises what the run raises,
        when all that was made before was taken."""
        while not self._ready and not self._over:
            self._called = False
            self._wake.clear()
            # the thread may have come in between, and not have called
            if not self._ready and not self._over:
                await self._wake.wait()
        self._called = True
        found = [self._ready.popleft() for _ in range(len(self._ready))]
        if not found and self._failed is not None:
            raise self._failed
        return found

    async def gather(self, seconds: float | None = None) -> None:
        """Let pieces come, for so long or until it is over."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._done.wait()

    async def closed(self) -> None:
        """Wait until it is over and on record, whatever became of it. For who takes no more of it."""
        if self._timer is not None:
            self._timer.cancel()
        with suppress(Exception):
            while await self.pieces():
                pass

    def _run(self, model: Model) -> None:
        self._look()
        if self._stopped is not None:
            raise self._stopped
        self.began = time.monotonic()
        with self._counted as context:
            stream = model.stream(self._prompt, self._sampling, context)
            with stream:
                with self._lock:
                    self.stream = stream
                    if self._stopped is not None:
                        stream.stop()
                for chunk in _filtered(stream):
                    self.last = time.monotonic()
                    if self.first is None:
                        self.first = self.last
                    if chunk.finish is not None:
                        self.receipt = model.receipt(stream)
                    self._ready.append(chunk)
                    self._call()
                    self._look()

    def _look(self) -> None:
        """Stop where the client is gone."""
        if self._gone():
            self._halt(Abandoned("request_abandoned", "the client went away"))

    def _halt(self, fault: Fault) -> None:
        with self._lock:
            if self._stopped is None:
                self._stopped = fault
            if self.stream is not None:
                self.stream.stop()

    def _end(self, failed: Exception | None) -> None:
        self._failed = failed
        self.ended = time.monotonic()
        self._over = True
        self._tell(self._done.set)
        self._tell(self._wake.set)

    def _call(self) -> None:
        """Wake whoever waits, unless that was done already: each time takes a core from the run."""
        if not self._called:
            self._called = True
            self._tell(self._wake.set)

    def _tell(self, what: Callable[[], None]) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody waits
            self._loop.call_soon_threadsafe(what)


def _filtered(stream: Stream) -> Iterator[Piece]:
    """The pieces of an answer. One that the policy ends has an end as any other, with what came before."""
    try:
        for chunk in stream:
            yield Piece(text=chunk.text, logprobs=chunk.logprobs, finish=chunk.finish)
    except OutputRefused as refused:
        if refused.code != "output_personal":
            raise
        yield Piece(text="", finish="content_filter")
