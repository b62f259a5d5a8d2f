"""An answer of a model that generates as it goes out: whole, or as server-sent events while it is made.

What a stream has to say is in its first event, the receipt in its last. What goes wrong on the way is an event, too: a
problem document with the error of the protocol, and then nothing more.

Source: server-sent events, https://html.spec.whatwg.org/multipage/server-sent-events.html.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, Protocol

from litestar.types import ASGIApp, Receive, Scope, Send

from policies.errors import Fault
from serve.answer import Json
from serve.answering import Answering, Piece
from serve.health import UNRECORDED
from serve.places import ENDED
from serve.problems import document, told
from serve.queue import Abandoned
from serve.telemetry import trace_of
from toolkit.generating import GenerationStopped, Stream

__all__ = ["STALL_S", "Words", "answered"]

# At most so often an event goes out: each takes a core from the run, here and at a client on the same machine, and
# nobody reads faster
EVERY_S = 0.04
STALL_S = 30.0  # how long a reader may take nothing
LAST_S = 1.0  # and how long where all that is left to say is that it is over
EVENTS: Mapping[str, str] = {"Content-Type": "text/event-stream; charset=utf-8", "X-Accel-Buffering": "no"}


class Words(Protocol):
    """How a protocol writes an answer. `first` is called before any `event`, `last` after all of them."""

    streamed: bool

    def whole(self, stream: Stream, chunks: Sequence[Piece]) -> bytes: ...
    def first(self, stream: Stream) -> None: ...
    def event(self, chunk: Piece, receipt: bytes | None) -> bytes: ...
    def last(self, stream: Stream, receipt: bytes) -> bytes: ...


async def answered(
    scope: Scope, receive: Receive, answering: Answering, words: Words, failed: Callable[[Fault], None]
) -> ASGIApp:
    """The answer, once the first of it is there: until then what goes wrong raises. `failed` hears of records that
    could not be written."""
    trace = trace_of(scope)
    chunks: list[Piece] = []
    try:
        async with _watched(receive, answering):
            if words.streamed:
                chunks += await answering.pieces()
            else:
                await answering.gather()
                while some := await answering.pieces():
                    chunks += some
    except BaseException as error:
        await answering.closed()
        trace.receipt = answering.receipt
        _note(scope, answering)
        if isinstance(error, UNRECORDED):
            failed(error)
        raise
    stream = _note(scope, answering)
    if words.streamed:
        return _Streamed(answering, stream, words, chunks, failed)
    await answering.closed()
    trace.receipt = answering.receipt
    return Json(words.whole(stream, chunks), trace.headers())


class _Streamed:
    """An ASGI application: the events of one answer, of which `chunks` are there already."""

    def __init__(
        self,
        answering: Answering,
        stream: Stream,
        words: Words,
        chunks: Sequence[Piece],
        failed: Callable[[Fault], None],
    ) -> None:
        self._answering = answering
        self._stream = stream
        self._words = words
        self._chunks = chunks
        self._failed = failed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        trace = trace_of(scope)
        named = {**EVENTS, **trace.headers()}
        headers = [(name.lower().encode(), value.encode()) for name, value in named.items()]
        try:
            async with _watched(receive, self._answering):
                await send({"type": "http.response.start", "status": 200, "headers": headers})
                await self._tell(send)
        except asyncio.CancelledError:
            # the server ends, and has waited as long as it does
            await self._break_off(scope, send, GenerationStopped("generation_stopped", ENDED))
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, a stream that has begun can tell it in no other way
            if isinstance(error, Abandoned):
                scope["state"].get("abort", lambda: None)()  # what waits to be sent would keep the connection open
            if isinstance(error, UNRECORDED):
                self._failed(error)
            await self._break_off(scope, send, error)
        finally:
            await self._answering.closed()

    async def _tell(self, send: Send) -> None:
        self._words.first(self._stream)
        some = self._chunks
        while some:
            receipt = self._answering.receipt if some[-1].finish else None
            await _sent(send, self._words.event(_joined(some), receipt))
            await self._answering.gather(EVERY_S)
            some = await self._answering.pieces()
        last = self._words.last(self._stream, self._answering.receipt or b"")
        await _sent(send, last + b"data: [DONE]\n\n", more=False)

    async def _break_off(self, scope: Scope, send: Send, error: Exception) -> None:
        fault = told(scope, error)
        self._answering.stop(fault)
        if not isinstance(fault, Abandoned):
            with suppress(Abandoned):
                await _sent(send, b"data: %b\n\n" % document(fault, scope["path"]), more=False, within_s=LAST_S)


async def _sent(send: Send, body: bytes, *, more: bool = True, within_s: float | None = None) -> None:
    """Raises Abandoned for a reader who takes nothing."""
    limit = STALL_S if within_s is None else within_s
    if not body and more:
        return
    try:
        async with asyncio.timeout(limit):
            await send({"type": "http.response.body", "body": body, "more_body": more})
    except TimeoutError:
        raise Abandoned("request_abandoned", f"the client took nothing for {limit:g} s") from None


@asynccontextmanager
async def _watched(receive: Receive, answering: Answering) -> AsyncIterator[None]:
    """Stops the answer when the client goes away, and where whoever waits for it is made to leave."""

    async def watch() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        answering.stop(Abandoned("request_abandoned", "the client went away"))

    watching = asyncio.create_task(watch())
    try:
        yield
    except asyncio.CancelledError:
        answering.stop(GenerationStopped("generation_stopped", ENDED))
        raise
    finally:
        watching.cancel()


def _joined(chunks: Sequence[Piece]) -> Piece:
    """Pieces that came one after the other as one."""
    if len(chunks) == 1:
        return chunks[0]
    logprobs = tuple(one for chunk in chunks for one in chunk.logprobs)
    return Piece(text="".join(chunk.text for chunk in chunks), logprobs=logprobs, finish=chunks[-1].finish)


def _note(scope: Scope, answering: Answering) -> Any:
    """The stream, if it came to that, with what the log and the headers have to say of it noted."""
    trace, stream = trace_of(scope), answering.stream
    if stream is not None:
        trace.call, trace.detected, trace.obligations = stream.call, stream.detected, stream.obligations
    return stream
