"""The one path behind every protocol: identity, rate, the body, a place in the queue, and a lane that does the rest."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Any, Protocol, TypeVar

from litestar import Request
from litestar.types import ASGIApp, Scope

from compliance.state.api_keys import ApiKeys
from policies.errors import Denied
from policies.payload import Payload
from serve.admission import Rate
from serve.answer import Json
from serve.body import Bodies
from serve.health import UNRECORDED, Health
from serve.identity import context_of, presented
from serve.problems import RequestError
from serve.queue import Job, Queue
from serve.telemetry import Trace, trace_of
from toolkit.box import Box
from toolkit.bundle import BundleManifest
from toolkit.model import Answer, Asked, Model
from toolkit.models import Entry, Models

__all__ = ["Read", "Service", "admission_to"]

Of = TypeVar("Of")
Changed = TypeVar("Changed")

TIMEOUT = b"x-timeout-ms"
MAX_TIMEOUT_MS = 3_600_000


class Read(Protocol):
    """A request as a protocol reads it: which model, what it says of its context, the payload that this model takes,
    and how the answer is written, with the headers that belong to it."""

    @property
    def model(self) -> str: ...
    @property
    def version(self) -> str | None: ...
    @property
    def said(self) -> Mapping[str, Any]: ...
    def payload(self, manifest: BundleManifest) -> Payload: ...
    def written(self, model: Model, answer: Answer) -> tuple[bytes, Mapping[str, str]]: ...


class Service:
    """What the routes share. Belongs to the thread of the event loop; only what writes an answer runs in a lane."""

    def __init__(self, box: Box, models: Models, keys: ApiKeys) -> None:
        self.models = models
        self.health = Health(box, models)
        self._box = box
        self._keys = keys
        self._rate = Rate(box.settings.serve.rate_per_s, box.settings.serve.burst)
        self._bodies = Bodies()
        self._queues: dict[int, Queue] = {}

    def start(self) -> None:
        """Called on the thread of the event loop, once it runs."""
        loop = asyncio.get_running_loop()

        def gone(model: Model) -> None:
            loop.call_soon_threadsafe(self.leave, model)

        self.models.gone = gone

    @property
    def queues(self) -> Collection[Queue]:
        """One for each model that was asked."""
        return self._queues.values()

    def admit(self, scope: Scope) -> None:
        """Who asks, and may they now? Raises ApiKeyError, RequestError, Busy, JournalError, StateError."""
        trace = trace_of(scope)
        text, given = presented(scope["headers"])
        key = self._keys.identified(text, time.time_ns())
        trace.key = key.id
        self._rate.take(key.id)
        self.health.must_hold()
        trace.context = context_of(key, given)

    async def ask(
        self, request: Request[Any, Any, Any], read: Callable[[bytes, Mapping[bytes, bytes]], Read]
    ) -> ASGIApp:
        """Read the body, wait for a lane, and answer. Raises what the gate, the model and the journal raise."""
        headers = dict(request.scope["headers"])
        deadline = _deadline(headers.get(TIMEOUT))
        trace = trace_of(request.scope)
        async with self._bodies.read(request.scope, request.receive) as body:
            asked = read(body, headers)
            job = trace.job = await self._put(asked, trace, deadline)
            try:
                content, more = await job.done
            except UNRECORDED as error:
                self.health.failed(error)
                raise
        return Json(content, {**trace.headers(), **more})

    async def body(self, request: Request[Any, Any, Any]) -> bytes:
        """The body of a request that asks no model. Raises RequestError, Busy."""
        async with self._bodies.read(request.scope, request.receive) as body:
            return body

    def found(self, scope: Scope, name: str, version: str | None = None) -> Entry:
        """What is served under a name to who asks. Raises Unserved."""
        return self.models.find(name, version)

    def listed(self, scope: Scope) -> Mapping[str, Entry]:
        """Everything that who asks may know of, by the name that it is best called by, refused bundles included."""
        return self.models.entries

    async def load(self, scope: Scope, name: str) -> None:
        """Load a model that was unloaded, or look at its bundle again. Raises Unserved, and what loading raises."""
        await self._changed(self.models.load, name)

    async def unload(self, scope: Scope, name: str) -> None:
        """Take a model out of service until it is loaded again. Raises Unserved, JournalError, StateError."""
        await self._changed(self.models.unload, name)

    def leave(self, model: Model) -> None:
        """Take no more for a model that is served no more; what waits for it is answered."""
        queue = self._queues.pop(id(model), None)
        if queue is not None:
            queue.stop()

    def close(self) -> None:
        """Let the lanes finish what they run; what waits was given up with its request."""
        for queue in [*self._queues.values()]:
            queue.stop()

    async def _put(self, asked: Read, trace: Trace, deadline: float | None) -> Job:
        """A job in the queue of the model that is asked. Raises Unserved, RequestError, InputError, Busy."""
        while True:
            entry = self.models.find(asked.model, asked.version)
            model = entry.model or await self._woken(entry)
            trace.served, trace.model = model.manifest.name, model.manifest.digest
            payload = asked.payload(model.manifest)
            question = Asked(payload, trace.context)
            job = Job(
                question,
                size=model.size(payload),
                tenant=trace.key or "",
                deadline=deadline,
                gone=trace.gone,
                written=_writing(asked, trace),
            )
            if self._queue(model).put(job):
                return job
            # the model gave way to another between the look and the queue

    def _queue(self, model: Model) -> Queue:
        queue = self._queues.get(id(model))
        if queue is None:
            queue = self._queues[id(model)] = Queue(model)
        queue.capacity = self._box.settings.serve.queue
        return queue

    async def _woken(self, entry: Entry) -> Model:
        return await self._changed(self.models.wake, entry)

    async def _changed(self, change: Callable[[Of], Changed], of: Of) -> Changed:
        """What a change of the models gives, made beside the event loop."""
        try:
            return await asyncio.to_thread(change, of)
        except UNRECORDED as error:
            self.health.failed(error)
            raise


def admission_to(service: Service) -> Callable[[Request[Any, Any, Any]], Awaitable[None]]:
    """What goes before every route that touches a model, as Litestar's `before_request`: no body is read yet."""

    # a function, since Litestar copies deeply what it is given, and a method would take the whole service along;
    # and no guard, since for each request it copies the handler that is guarded
    async def admit(request: Request[Any, Any, Any]) -> None:
        service.admit(request.scope)

    return admit


def _writing(asked: Read, trace: Trace) -> Callable[[Model, Answer | Exception], tuple[bytes, Mapping[str, str]]]:
    """What a lane does with an answer: the receipt, and the body in the words of the protocol."""

    def written(model: Model, answer: Answer | Exception) -> tuple[bytes, Mapping[str, str]]:
        if isinstance(answer, Denied):
            trace.receipt = model.receipt(answer)
        if isinstance(answer, Exception):
            raise answer
        trace.call, trace.receipt = answer.call, model.receipt(answer)
        return asked.written(model, answer)

    return written


def _deadline(header: bytes | None) -> float | None:
    """Until when an answer is of use, on the clock of time.monotonic. Raises RequestError."""
    if header is None:
        return None
    if not header.isdigit() or len(header) > 8 or not 0 < int(header) <= MAX_TIMEOUT_MS:
        raise RequestError("request_header", f"X-Timeout-Ms is a number from 1 to {MAX_TIMEOUT_MS}")
    return time.monotonic() + int(header) / 1000
