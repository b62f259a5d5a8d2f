"""A witness over HTTP: boxes bring their heads and take them back co-signed. Who may is told by the signatures alone.

GET  /witness/v1/key             the key that co-signs
GET  /witness/v1/journals/ID     the last head of a journal, co-signed anew
POST /witness/v1/heads           an exchange (docs/witness.md); the answer is its head, co-signed
"""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from typing import Any

import msgspec
from litestar import Litestar, Request, get, post
from litestar.types import ASGIApp

from compliance.keys import fingerprint, to_text
from compliance.witness.errors import WitnessError
from compliance.witness.exchange import MAX_DOCUMENT, Seen
from compliance.witness.store import Witness
from serve.admission import Admission, Busy
from serve.answer import Json
from serve.body import Bodies
from serve.problems import respond
from serve.process import serve
from serve.telemetry import Log, Observed, trace_of

__all__ = ["create_app", "run"]

# a box comes once a minute; a document takes a few milliseconds, most of them to get it onto the disk
PER_S, BURST = 20.0, 100
PLACES = 32


def run(witness: Witness, listening: socket.socket, ready: Callable[[], None]) -> None:
    """Witness until SIGTERM or SIGINT."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with closing(Log()) as log:
        log.take_over()
        serve(create_app(witness, log, ready), listening)


def create_app(witness: Witness, log: Log, ready: Callable[[], None]) -> ASGIApp:
    """The ASGI application of a witness. `ready` is called when it takes requests."""
    admission = Admission()
    bodies = Bodies(MAX_DOCUMENT, PLACES * MAX_DOCUMENT)
    key = {"key": to_text(witness.public), "fingerprint": fingerprint(witness.public)}

    async def answered(request: Request[Any, Any, Any], ask: Callable[[int], Seen | None]) -> ASGIApp:
        try:
            return Json(msgspec.json.encode(await asyncio.to_thread(ask, time.time_ns())))
        except WitnessError as error:
            # nothing in it that a client wrote: the operator has to know which journal was forked
            trace_of(request.scope).reason = str(error)
            raise

    async def limit(_: Request[Any, Any, Any]) -> None:
        try:
            admission.enter("", PER_S, BURST)
        except Busy as busy:
            raise Busy("queue_full", "too many requests came at once", busy.retry_after_s) from None

    @get("/witness/v1/key", sync_to_thread=False)
    def shown() -> ASGIApp:
        return Json(msgspec.json.encode(key))

    @get("/witness/v1/journals/{journal:str}")
    async def last(request: Request[Any, Any, Any], journal: str) -> ASGIApp:
        return await answered(request, lambda at: witness.last(journal, at))

    @post("/witness/v1/heads", status_code=200)
    async def heads(request: Request[Any, Any, Any]) -> ASGIApp:
        async with bodies.read(request.scope, request.receive) as document:
            return await answered(request, lambda at: witness.seen(document, at))

    @asynccontextmanager
    async def lifespan(_: Litestar) -> AsyncIterator[None]:
        ready()
        yield
        admission.close()

    app = Litestar(
        route_handlers=[shown, last, heads],
        lifespan=[lifespan],
        before_request=limit,
        exception_handlers={Exception: respond},
        request_max_body_size=MAX_DOCUMENT,
        openapi_config=None,
        logging_config=None,
        debug=False,
    )
    return Observed(app, log)
