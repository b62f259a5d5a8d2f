"""An answer in the making: each piece as it comes, and at the end, however it ends, a record of what was said.

A stream that is stopped, or that nobody reads to its end, is recorded as what it was: the text so far, the tokens that
were made, and the code `generation_stopped`. Each piece passes the scan that the decision asks for before it is handed
out, and what is recorded is what was handed out.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from threading import Event, Lock
from types import TracebackType
from typing import ClassVar, Literal

from msgspec import Struct, structs

from compliance.journal.receipts import Written
from policies.errors import Refused
from policies.facts import Obligation
from policies.gate import Grant, note
from policies.outgoing import Outgoing, OutputRefused
from policies.payload import Payload
from toolkit.runtime.generation import Chunk, Finish, Logprob

__all__ = ["Clock", "Generated", "GenerationStopped", "Stream"]

NOTE = "answer"  # the kind of the record that holds what was said
CHUNK = "chunk"  # and of those that hold a piece of it, in the class `durable`

# how an answer ends on record, beside the ways that the model ends by itself
Ended = Literal["stopped", "policy", "failed"]


class GenerationStopped(Refused):
    """An answer that was stopped before its end."""

    hints: ClassVar[Mapping[str, str]] = {
        "generation_stopped": "Ask again, and read to the end: what was made until then is on record.",
    }


class Generated(Struct, frozen=True, kw_only=True):
    """A whole answer. `finish` says why it ended, `seed` gives the same text again; `usage` counts prompt_tokens,
    answer_tokens, and both as tokens. `call` and `written` are how it is on record, and `obligations` what was done to
    the prompt and what goes with the text (toolkit.model: Answer). `found` counts the personal data that the scan found
    in what the model wrote, by category; where it was to be masked, it was. `mark` is the signed statement that a model
    wrote the text (compliance/verify/mark.py)."""

    text: str
    finish: Finish
    seed: int
    logprobs: tuple[Logprob, ...]
    usage: Mapping[str, int]
    call: str
    written: tuple[Written, ...]
    detected: frozenset[str] = frozenset()
    obligations: tuple[Obligation, ...] = ()
    found: Mapping[str, int] = {}
    mark: str = ""


class Stream:
    """The chunks of one answer, as an iterator and a context. Read by one thread; any may `stop` it.

    What goes with the text is known before the first chunk: `call`, `obligations`, `detected`, `seed`; `text`, `usage`,
    `finish` and `found` grow with it, and `looked_at` is the obligation under which `found` is counted. When the last
    chunk is handed out the answer is on record, as `written`, and `mark` is the signed statement that a model wrote it.

    Where the decision asks for what the model writes to be masked, or to end before personal data, a chunk holds what
    is sure of the text so far, and no `logprobs`: they would tell what was masked.
    """

    def __init__(
        self,
        grant: Grant,
        seed: int,
        run: Callable[[Callable[[], None]], Iterator[Chunk]],
        close: Callable[[Grant, BaseException | None], tuple[Written, ...]],
        *,
        mark: Callable[[str], str],
        durable: bool = False,
    ) -> None:
        """`run` makes the chunks under the grant, with what it calls before each token; `close` records the end; `mark`
        states of a text that a model wrote it. `durable`: each text is on record before it is handed out, and not only
        the last one."""
        self._grant = grant
        self._close = close
        self._chunks = run(self._go_on)
        self._outgoing = Outgoing(grant.obligations)
        self.looked_at = self._outgoing.under
        self._mark = mark
        self._durable = durable
        self._recorded = 0
        self._stopped = Event()
        self._ending = Lock()
        self._open = True
        self._last: Chunk | None = None
        self.seed = seed
        self.call = grant.call.id
        self.detected = grant.call.detected
        self.obligations = grant.obligations
        self.usage: Mapping[str, int] = {}
        self.text = ""
        self.finish: Finish | None = None
        self.found: Mapping[str, int] = {}
        self.mark = ""
        self.written: tuple[Written, ...] = ()

    def __iter__(self) -> Stream:
        return self

    def __next__(self) -> Chunk:
        """Raises what the run raises; GenerationStopped after `stop`; OutputRefused where what comes may not be handed
        out; JournalError where it cannot be recorded, and then it is not handed out."""
        if not self._open:
            raise StopIteration
        try:
            chunk = self._looked_at(next(self._chunks))
            if self._durable and chunk.text and chunk.finish is None:
                self._recorded += 1
                note(self._grant, CHUNK, {"number": self._recorded}, Payload(value={"text": chunk.text}))
        except BaseException as error:
            self._end(_ended(error), error)
            raise
        self.text += chunk.text
        if chunk.finish is not None:
            self.finish = chunk.finish
            self._end(chunk.finish, None)
        return chunk

    def __enter__(self) -> Stream:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        # one that nobody holds any more: there is nobody to tell that it cannot be recorded
        with suppress(Exception):
            self.close()

    def stop(self) -> None:
        """Let no further token be made: whoever reads gets GenerationStopped instead. For any thread."""
        self._stopped.set()

    def close(self) -> None:
        """End here; one that was not read to its end is recorded as stopped. Raises JournalError."""
        if self._open:
            self._end("stopped", GenerationStopped("generation_stopped", "the stream was closed before its end"))

    def _looked_at(self, chunk: Chunk) -> Chunk:
        sure = self._outgoing.passed(chunk.text, last=chunk.finish is not None)
        return structs.replace(chunk, text=sure, logprobs=() if self._outgoing.withholds else chunk.logprobs)

    def _go_on(self) -> None:
        if self._stopped.is_set():
            raise GenerationStopped("generation_stopped", "the answer was stopped")

    def _end(self, ended: Finish | Ended, error: BaseException | None) -> None:
        with self._ending:
            if not self._open:
                return
            self._open = False
            # what makes them lets go of its memory now, and not when nobody holds the stream any more
            self._chunks = iter(())
        self.usage = self._grant.usage
        self._outgoing.end()
        self.found = self._outgoing.found
        about = {"finish": ended, "seed": self.seed, **({"found": self.found} if self.found else {})}
        try:
            self.mark = self._mark(self.text)
            note(self._grant, NOTE, about, Payload(value={"text": self.text, "mark": self.mark}))
        except BaseException as unwritten:
            # a call stays on record as what it was even where its text cannot be
            with suppress(Exception):
                self._close(self._grant, error or unwritten)
            raise
        self.written = self._close(self._grant, error)


def _ended(error: BaseException) -> Ended:
    if isinstance(error, GenerationStopped):
        return "stopped"
    return "policy" if isinstance(error, OutputRefused) else "failed"


class Clock:
    """How long threads have worked on an answer, without what its reader does between two chunks."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def spent(self, seconds: float) -> None:
        """Other threads worked on it for so long."""
        self.seconds += seconds

    def timed(self, chunks: Iterator[Chunk]) -> Iterator[Chunk]:
        """The chunks, with the time that each took added up."""
        while True:
            began = time.thread_time()
            try:
                chunk = next(chunks)
            except StopIteration:
                return
            finally:
                self.seconds += time.thread_time() - began
            yield chunk
