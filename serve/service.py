"""The one path behind every protocol: identity, rate, a place, the body, a lane, the gate."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

from litestar import Request
from litestar.exceptions import InternalServerException
from litestar.types import ASGIApp, Scope

from compliance.state.api_keys import ApiKeys
from policies.errors import Denied
from serve.admission import Places, Rate
from serve.answer import Json
from serve.health import UNRECORDED, Health
from serve.identity import context_of, presented
from serve.problems import RequestError
from serve.telemetry import Trace, trace_of
from toolkit.box import Box
from toolkit.model import Answer, Model

__all__ = ["MAX_BODY", "Asked", "Service", "admission_to", "body_of"]

MAX_BODY = 8_000_000
BODY_S = 10.0


class Asked(Protocol):
    """A request as a protocol reads it: which model, which texts, and how the answer is written."""

    @property
    def model(self) -> str: ...
    @property
    def texts(self) -> str | list[str]: ...
    def written(self, model: Model, answer: Answer) -> bytes: ...


class Service:
    """What the routes share. Belongs to the thread of the event loop; only `_answered` runs in a lane."""

    def __init__(self, box: Box, models: Mapping[str, Model], keys: ApiKeys, lanes: int) -> None:
        self.models = models
        self.health = Health(box, models.values())
        self.places = Places(lanes, box.settings.serve.queue)
        self._keys = keys
        self._rate = Rate(box.settings.serve.rate_per_s, box.settings.serve.burst)
        self._lanes = ThreadPoolExecutor(lanes, thread_name_prefix="lane")

    def admit(self, scope: Scope) -> None:
        """Who asks, and may they now? Raises ApiKeyError, RequestError, Busy, JournalError, StateError."""
        trace = trace_of(scope)
        text, given = presented(scope["headers"])
        key = self._keys.identified(text, time.time_ns())
        trace.key = key.id
        self._rate.take(key.id)
        self.health.must_hold()
        trace.context = context_of(key, given)

    def model(self, name: str) -> Model:
        """The model of this name. Raises RequestError: model_unknown."""
        model = self.models.get(name)
        if model is None:
            raise RequestError("model_unknown", "no model of this name is served here")
        return model

    async def ask(self, request: Request[Any, Any, Any], read: Callable[[bytes], Asked]) -> ASGIApp:
        """Take a place, read the body, and answer in a lane. Raises what the gate, the model and the journal raise."""
        trace = trace_of(request.scope)
        with self.places.place():
            asked = read(await body_of(request))
            model = self.model(asked.model)
            trace.model = model.manifest.digest
            loop = asyncio.get_running_loop()
            try:
                content = await loop.run_in_executor(self._lanes, _answered, model, asked, trace)
            except UNRECORDED as error:
                self.health.failed(error)
                raise
        return Json(content, trace.headers())

    def close(self) -> None:
        """Let the lanes finish what they run; what waits was given up with its request."""
        self._lanes.shutdown(wait=False, cancel_futures=True)


def admission_to(service: Service) -> Callable[[Request[Any, Any, Any]], Awaitable[None]]:
    """What goes before every route that touches a model, as Litestar's `before_request`: no body is read yet."""

    # a function, since Litestar copies deeply what it is given, and a method would take the whole service along;
    # and no guard, since for each request it copies the handler that is guarded
    async def admit(request: Request[Any, Any, Any]) -> None:
        service.admit(request.scope)

    return admit


def _answered(model: Model, asked: Asked, trace: Trace) -> bytes:
    try:
        answer = model.ask(asked.texts, trace.context)
    except Denied as denied:
        trace.receipt = model.receipt(denied)
        raise
    trace.call, trace.receipt, trace.detected = answer.call, model.receipt(answer), answer.detected
    return asked.written(model, answer)


async def body_of(request: Request[Any, Any, Any]) -> bytes:
    """The body. Its size is limited while it is read; a client that stalls must not keep its place."""
    try:
        async with asyncio.timeout(BODY_S):
            return await request.body()
    except (TimeoutError, InternalServerException):  # Litestar's word for a client that went away
        raise RequestError("request_incomplete", "the body did not arrive") from None
