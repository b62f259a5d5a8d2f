"""Around the whole application: every request is counted, logged and, where that is wanted, traced."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from serve.admission import Busy
from serve.answer import secured
from serve.answering import Answering
from serve.telemetry.log import Log
from serve.telemetry.metrics import Metrics
from serve.telemetry.trace import Trace

if TYPE_CHECKING:
    from serve.telemetry.spans import Spans

__all__ = ["UNMATCHED", "Observed"]

UNMATCHED: Final = "unmatched"
METHODS: Final = frozenset({"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"})


class Observed:
    """Around the application, so that what no route takes is seen too.

    `busy` says what a request to a model is told before any of it is looked at, where that is something.
    """

    def __init__(
        self,
        app: ASGIApp,
        log: Log,
        metrics: Metrics | None = None,
        spans: Spans | None = None,
        busy: Callable[[], Busy | None] = lambda: None,
    ) -> None:
        self.app = app
        self.busy = busy
        self._log = log
        self._metrics = metrics
        self._spans = spans

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP:
            # the state of the lifespan is the one thing that the connections and the application share
            scope["state"]["observed"] = self
            await self.app(scope, receive, send)
            return
        state = scope["state"]
        trace = state["trace"] = Trace(state.get("gone", _here))
        status = 0
        began = time.monotonic()

        async def observed(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = secured(message["headers"], https=scope["scheme"] == "https")
            await send(message)

        try:
            await self.app(scope, receive, observed)
        finally:
            if trace.leave is not None:
                trace.leave()
            ended = time.monotonic()
            # the template of the route, never the path: a path is written by the client
            route = scope.get("path_template") or None
            method = scope["method"] if scope["method"] in METHODS else "other"
            if self._metrics is not None:
                self._metrics.count(route or UNMATCHED, status, ended - began, trace)
            traced = None
            if self._spans is not None:
                traced = self._spans.tell(scope["headers"], method, route, status, (began, ended), trace)
            self._log.add(_line(method, route or UNMATCHED, status, ended - began, trace, traced))

    def refused(self, code: str, status: int, route: str = UNMATCHED) -> None:
        """Count and log what was refused before the application had it."""
        trace = Trace(_here)
        trace.code = code
        if self._metrics is not None:
            self._metrics.count(route, status, 0.0, trace)
        self._log.add({"route": route, "status": status, "code": code})


def _here() -> bool:
    """For a server that does not tell."""
    return False


def _line(method: str, route: str, status: int, seconds: float, trace: Trace, traced: str | None) -> dict[str, Any]:
    line: dict[str, Any] = {"method": method, "route": route, "status": status, "ms": _ms(seconds)}
    if (job := trace.job) is not None and job.ended is not None:
        line["ms_queue"] = _ms((job.began or job.ended) - job.came)
        if job.began is not None:
            line["ms_lane"] = _ms(job.ended - job.began)
        if isinstance(job, Answering) and job.first is not None:
            line["ms_first"] = _ms(job.first - job.came)
    if traced is not None:
        line["trace"] = traced
    for name in ("key", "call", "code", "reason"):
        value = getattr(trace, name)
        if value is not None:
            line[name] = value
    return line


def _ms(seconds: float) -> float:
    return round(seconds * 1e3, 2)
