"""The one path behind every protocol: identity, limits, the body, a place in the queue, and a lane for the rest."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Any, Protocol, TypeVar

from litestar import Request
from litestar.types import ASGIApp, Scope

from compliance.state.api_keys import ApiKeyError, ApiKeys
from compliance.state.usage import Usage
from policies.errors import Denied
from policies.payload import Payload
from serve.admission import Admission, Busy
from serve.answer import Json
from serve.answering import Answering, Prompt
from serve.body import Bodies
from serve.caller import Caller, must_administer, must_reach
from serve.health import UNRECORDED, Health
from serve.identity import Identity, context_of, issuer_of
from serve.places import Places
from serve.problems import RequestError
from serve.prompted import Addressed, Prompted, weighed
from serve.queue import Job, Queue
from serve.quota import counted, held
from serve.streamed import Words, answered
from serve.telemetry import Trace, trace_of
from serve.waiting import Waiting
from toolkit.box import Box
from toolkit.bundle import BundleManifest
from toolkit.model import Answer, Model
from toolkit.models import Entry, Models
from toolkit.runtime.sampling import Sampling

__all__ = ["Read", "Service", "admission_to"]

Of = TypeVar("Of")
Changed = TypeVar("Changed")

TIMEOUT = b"x-timeout-ms"
MAX_TIMEOUT_MS = 3_600_000


class Read(Addressed, Protocol):
    """A request as a protocol reads it: the payload that this model takes, and how the answer is written, with the
    headers that belong to it."""

    def payload(self, manifest: BundleManifest) -> Payload: ...
    def written(self, model: Model, answer: Answer) -> tuple[bytes, Mapping[str, str]]: ...


class Service:
    """What the routes share. Belongs to the thread of the event loop; only what writes an answer runs in a lane."""

    def __init__(self, box: Box, models: Models, keys: ApiKeys, admission: Admission, usage: Usage) -> None:
        """Raises JwksError."""
        self.models = models
        self.health = Health(box, models)
        self._box = box
        self._keys = keys
        self._admission = admission
        self._usage = usage
        self._limits = box.settings.serve
        self._identity = Identity(keys, issuer_of(box), self._limits)
        self._bodies = Bodies()
        self._waiting = Waiting()

    def start(self) -> None:
        """Called on the thread of the event loop, once it runs."""
        loop = asyncio.get_running_loop()

        def gone(model: Model) -> None:
            loop.call_soon_threadsafe(self.leave, model)

        self.models.gone = gone

    @property
    def queues(self) -> Collection[Queue]:
        """One for each model that was asked."""
        return self._waiting.queues

    @property
    def places(self) -> Collection[Places]:
        """One for each model that generates and was asked to."""
        return self._waiting.places

    def quotas(self) -> dict[str, int]:
        """How many calls are left to each account that has a quota. Raises StateError."""
        return self._usage.left()

    def admit(self, scope: Scope) -> None:
        """Who asks, and may they now? Raises ApiKeyError, JwtError, RequestError, Busy, JournalError, StateError."""
        if self._limits is not self._box.settings.serve:
            self._identity = Identity(self._keys, issuer_of(self._box), self._box.settings.serve)
            self._limits = self._box.settings.serve
        trace = trace_of(scope)
        certificate = scope["state"].get("certificate")
        caller, trace.said = self._identity.identified(scope["headers"], certificate, time.time_ns())
        trace.caller, trace.key = caller, caller.id
        trace.leave = self._admission.enter(caller.account, caller.rate_per_s, caller.burst, caller.concurrent)
        self.health.must_hold()

    def busy(self) -> Busy | None:
        """What a request to a model is told now, whatever it asks: None as long as a model has a place."""
        return self._waiting.busy(self.models.servable())

    async def ask(
        self, request: Request[Any, Any, Any], read: Callable[[bytes, Mapping[bytes, bytes]], Read]
    ) -> ASGIApp:
        """Read the body, wait for a lane, and answer. Raises what the gate, the model and the journal raise."""
        headers = dict(request.scope["headers"])
        deadline = _deadline(headers.get(TIMEOUT))
        trace = trace_of(request.scope)
        async with self._bodies.read(request.scope, request.receive) as body:
            asked = read(body, headers)
            job = trace.job = await self._put(asked, trace, _caller(request.scope), deadline)
            try:
                content, more = await job.done
            except UNRECORDED as error:
                self.health.failed(error)
                raise
        return Json(content, {**trace.headers(), **more})

    async def answer(
        self, request: Request[Any, Any, Any], read: Callable[[bytes, Mapping[bytes, bytes]], Prompted]
    ) -> ASGIApp:
        """Read the body, wait for a place, and answer once the first token is there. Raises what the gate, the model
        and the journal raise until then."""
        headers = dict(request.scope["headers"])
        deadline = _deadline(headers.get(TIMEOUT))
        trace = trace_of(request.scope)
        async with self._bodies.read(request.scope, request.receive) as body:
            asked = read(body, headers)
            answering, words = await self._begin(asked, trace, _caller(request.scope), deadline)
            trace.job = answering
            return await answered(request.scope, request.receive, answering, words, self.health.failed)

    async def body(self, request: Request[Any, Any, Any]) -> bytes:
        """The body of a request that asks no model. Raises RequestError, Busy."""
        async with self._bodies.read(request.scope, request.receive) as body:
            return body

    def found(self, scope: Scope, name: str, version: str | None = None) -> Entry:
        """What is served under a name to who asks. Raises Unserved, ScopeError."""
        return self._reached(_caller(scope), name, version)

    def listed(self, scope: Scope) -> Mapping[str, Entry]:
        """Everything that who asks may know of, by the name that it is best called by; of bundles that were never read
        only who may load and unload models."""
        caller = _caller(scope)
        return {
            name: entry
            for name, entry in self.models.entries.items()
            if (caller.admin if entry.manifest is None else caller.sees(entry.manifest.name, entry.manifest.version))
        }

    async def load(self, scope: Scope, name: str) -> None:
        """Load a model that was unloaded, or look at its bundle again. Raises ScopeError, Unserved, and what loading
        raises."""
        must_administer(_caller(scope))
        await self._changed(self.models.load, name)

    async def unload(self, scope: Scope, name: str) -> None:
        """Take a model out of service until it is loaded again. Raises ScopeError, Unserved, JournalError,
        StateError."""
        must_administer(_caller(scope))
        await self._changed(self.models.unload, name)

    def leave(self, model: Model) -> None:
        """Take no more for a model that is served no more; what waits for it is answered."""
        self._waiting.leave(model)

    def close(self) -> None:
        """Let the lanes finish what they run, and end the answers that are not; what waits was given up with its
        request."""
        self._waiting.close()
        self._usage.close()
        self._admission.close()

    async def _put(self, asked: Read, trace: Trace, caller: Caller, deadline: float | None) -> Job:
        """A job in the queue of the model that is asked.

        Raises Unserved, ScopeError, RequestError, InputError, Busy, and what loading a model raises.
        """
        while True:
            model = await self._asked(asked, trace, caller)
            payload = asked.payload(model.manifest)
            job = Job(
                payload,
                counted(self._usage, caller, trace.context),
                size=model.size(payload),
                tenant=trace.context.tenant or "",
                deadline=deadline,
                gone=trace.gone,
                written=_writing(asked, trace),
            )
            if self._waiting.queue(model, self._box.settings.serve).put(job):
                return job
            # the model gave way to another between the look and the queue

    async def _begin(
        self, asked: Prompted, trace: Trace, caller: Caller, deadline: float | None
    ) -> tuple[Answering, Words]:
        """An answer that has or waits for its place at the model that is asked.

        Raises what `_put` raises, and GenerationError.
        """
        while True:
            model = await self._asked(asked, trace, caller)
            prompt = asked.prompt(model.manifest)
            # beside the event loop: a long prompt takes a while
            tokens, sampling = await asyncio.to_thread(weighed, model, prompt, asked)
            answering = self._answering(prompt, sampling, tokens, trace, caller, deadline)
            if self._waiting.places_of(model, self._box.settings.serve).put(answering):
                return answering, asked.words(model.manifest)

    def _answering(
        self, prompt: Prompt, sampling: Sampling, tokens: int, trace: Trace, caller: Caller, deadline: float | None
    ) -> Answering:
        made = Answering(
            prompt,
            sampling,
            held(self._usage, caller, trace.context, tokens, lambda: made.used.get("tokens", 0)),
            tokens=tokens,
            deadline=deadline,
            gone=trace.gone,
        )
        return made

    async def _asked(self, asked: Addressed, trace: Trace, caller: Caller) -> Model:
        """The model that is asked, loaded again where it gave way to others."""
        entry = self._reached(caller, asked.model, asked.version)
        model = entry.model if entry.model is not None else await self._changed(self.models.wake, entry)
        trace.served, trace.model = model.manifest.name, model.manifest.digest
        trace.context = context_of(caller, trace.said, asked.said)
        return model

    def _reached(self, caller: Caller, name: str, version: str | None) -> Entry:
        entry = self.models.find(name, version)
        must_reach(caller, entry.known.name, entry.known.version)
        return entry

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


def _caller(scope: Scope) -> Caller:
    """Who asks, on a route that only those reach who were admitted."""
    caller = trace_of(scope).caller
    if caller is None:
        raise ApiKeyError("api_key_missing", "nobody was admitted")
    return caller


def _writing(asked: Read, trace: Trace) -> Callable[[Model, Answer | Exception], tuple[bytes, Mapping[str, str]]]:
    """What a lane does with an answer: the receipt, and the body in the words of the protocol."""

    def written(model: Model, answer: Answer | Exception) -> tuple[bytes, Mapping[str, str]]:
        if isinstance(answer, Denied):
            trace.receipt = model.receipt(answer)
        if isinstance(answer, Exception):
            raise answer
        trace.call, trace.receipt = answer.call, model.receipt(answer)
        trace.detected, trace.obligations = answer.detected, answer.obligations
        return asked.written(model, answer)

    return written


def _deadline(header: bytes | None) -> float | None:
    """Until when an answer is of use, on the clock of time.monotonic. Raises RequestError."""
    if header is None:
        return None
    if not header.isdigit() or len(header) > 8 or not 0 < int(header) <= MAX_TIMEOUT_MS:
        raise RequestError("request_header", f"X-Timeout-Ms is a number from 1 to {MAX_TIMEOUT_MS}")
    return time.monotonic() + int(header) / 1000
