"""What the operator sees: one line of JSON a request, and Prometheus metrics. Nothing in it that a client wrote."""

from __future__ import annotations

import asyncio
import sys
import time
import traceback
from base64 import urlsafe_b64encode
from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from policies.errors import Fault
from policies.facts import Obligation
from serve.answer import secured
from serve.caller import Caller
from serve.obligations import headers
from serve.queue import Queue
from toolkit.box import Context

__all__ = ["METRICS_TYPE", "Log", "Metrics", "Observed", "Trace", "trace_of", "where"]

METRICS_TYPE = CONTENT_TYPE_LATEST
FLUSH_S = 0.05

_METHODS = {"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"}
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class Trace:
    """What is found out about a request on its way: who asks, under what, and how it ended."""

    __slots__ = (
        "call",
        "caller",
        "code",
        "context",
        "detected",
        "gone",
        "key",
        "leave",
        "model",
        "obligations",
        "reason",
        "receipt",
        "refused_by",
        "said",
    )

    def __init__(self, gone: Callable[[], bool]) -> None:
        self.gone = gone  # whether the client hung up
        self.key: str | None = None
        self.caller: Caller | None = None
        self.said: dict[str, str] = {}
        self.leave: Callable[[], None] | None = None
        self.context = Context()
        self.model: str | None = None
        self.call: str | None = None
        self.code: str | None = None
        self.reason: str | None = None
        self.receipt: bytes | None = None
        self.detected: frozenset[str] = frozenset()
        self.refused_by: tuple[str, ...] = ()
        self.obligations: tuple[Obligation, ...] = ()

    def headers(self) -> dict[str, str]:
        """The call as it is on record, its receipt, the digest of the model, what the detector found in the input, and
        what the answer has to carry, as far as it came to that."""
        found: dict[str, str] = {}
        if self.call is not None:
            found |= {"X-Decision-Id": self.call, "X-Request-Id": self.call}
        if self.receipt is not None:
            found["X-Receipt"] = urlsafe_b64encode(self.receipt).decode()
        if self.detected:
            found["X-Detected"] = ", ".join(sorted(self.detected))
        if self.model is not None:
            found["X-Model-Digest"] = self.model
        return found | headers(self.obligations)


class Metrics:
    """The metrics of one server, in a registry of their own."""

    def __init__(self, queues: Callable[[], Collection[Queue]]) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "sealpress_requests", "Requests by route and status.", ["route", "status"], registry=self._registry
        )
        self._refusals = Counter(
            "sealpress_refusals", "Refused calls by the rule that was against.", ["rule"], registry=self._registry
        )
        self._seconds = Histogram(
            "sealpress_request_seconds",
            "From the head of the request to the end of the answer.",
            ["route"],
            buckets=_SECONDS,
            registry=self._registry,
        )
        lanes = Gauge("sealpress_lanes", "Lanes of the models that were asked.", registry=self._registry)
        lanes.set_function(lambda: sum(queue.lanes for queue in queues()))
        queue = Gauge("sealpress_queue_depth", "Requests that wait for a lane.", registry=self._registry)
        queue.set_function(lambda: sum(queue.waiting for queue in queues()))

    def count(self, route: str, status: int, seconds: float, refused_by: tuple[str, ...]) -> None:
        self._requests.labels(route, status).inc()
        self._seconds.labels(route).observe(seconds)
        for rule in refused_by:
            self._refusals.labels(rule).inc()

    def text(self) -> bytes:
        """All metrics in Prometheus' text format."""
        return generate_latest(self._registry)


class Log:
    """Lines of JSON on standard error, some milliseconds at a time: a write for each would cost more than the rest."""

    def __init__(self) -> None:
        self._lines: list[bytes] = []

    def add(self, line: dict[str, Any]) -> None:
        """On the thread of the event loop."""
        if not self._lines:
            asyncio.get_running_loop().call_later(FLUSH_S, self.flush)
        self._lines.append(msgspec.json.encode(line))

    def failed(self, fault: Fault) -> None:
        """A line on something that went wrong beside the requests, from any thread."""
        _write([msgspec.json.encode({"at": round(time.time(), 3), "code": fault.code, "reason": str(fault)})])

    def flush(self) -> None:
        """Write what is there."""
        lines, self._lines = self._lines, []
        if lines:
            _write(lines)


def _write(lines: list[bytes]) -> None:
    with suppress(OSError):  # an operator who does not listen must not stop the server
        sys.stderr.buffer.write(b"\n".join(lines) + b"\n")
        sys.stderr.buffer.flush()


class Observed:
    """Around the whole application, so that what no route takes is seen too."""

    def __init__(self, app: ASGIApp, metrics: Metrics | None, log: Log) -> None:
        self._app = app
        self._metrics = metrics
        self._log = log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP:
            await self._app(scope, receive, send)
            return
        state = scope["state"]
        trace = state["trace"] = Trace(state.get("gone", _here))
        status = 0
        began = time.perf_counter()

        async def observed(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = secured(message["headers"], https=scope["scheme"] == "https")
            await send(message)

        try:
            await self._app(scope, receive, observed)
        finally:
            if trace.leave is not None:
                trace.leave()
            seconds = time.perf_counter() - began
            # the template of the route, never the path: a path is written by the client
            route = scope.get("path_template") or "unmatched"
            if self._metrics is not None:
                self._metrics.count(route, status, seconds, trace.refused_by)
            self._log.add(_line(scope["method"], route, status, seconds, trace))


def trace_of(scope: Scope) -> Trace:
    """The trace of the request that is being answered."""
    trace: Trace = scope["state"]["trace"]
    return trace


def where(error: BaseException) -> str:
    """The type and the place of an error only: a message might hold something of a payload."""
    place = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} at {Path(place.filename).name}:{place.lineno}"


def _here() -> bool:
    """For a server that does not tell."""
    return False


def _line(method: str, route: str, status: int, seconds: float, trace: Trace) -> dict[str, Any]:
    line: dict[str, Any] = {
        "at": round(time.time(), 3),
        "method": method if method in _METHODS else "other",
        "route": route,
        "status": status,
        "ms": round(seconds * 1e3, 2),
    }
    for name in ("key", "call", "code", "reason"):
        value = getattr(trace, name)
        if value is not None:
            line[name] = value
    return line
