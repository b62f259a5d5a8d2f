"""Alive, ready, and the upkeep of the journal while the server runs."""

from __future__ import annotations

import asyncio

import msgspec
from litestar import Response, Router, get
from litestar.types import ASGIApp

from compliance.journal.errors import JournalError
from compliance.keys import KeyFault
from compliance.state.errors import StateError
from policies.errors import Fault
from serve.answer import Json
from serve.telemetry import METRICS_TYPE, Metrics
from toolkit.box import Box
from toolkit.models import Models

__all__ = ["UNRECORDED", "Health", "routes"]

UPKEEP_S = 1.0
# because of these no record can be written, so nothing may be served
UNRECORDED = (JournalError, StateError, KeyFault)


class Health:
    """Whether the journal can be written. While it cannot, nothing is served."""

    def __init__(self, box: Box, models: Models) -> None:
        self._journal = box.journal
        self._models = models
        self._fault: Fault | None = None
        self._stopped: Fault | None = None

    def failed(self, fault: Fault) -> None:
        """Stop serving: a record could not be written."""
        self._fault = fault

    def stopped(self, fault: Fault) -> None:
        """Stop serving for good: what was found does not go away by itself."""
        self._stopped = fault

    def must_hold(self) -> None:
        """Raises the fault because of which nothing is served."""
        if (fault := self._stopped or self._fault) is not None:
            raise fault

    def missing(self) -> dict[str, str]:
        """What is missing for this server to be ready, and the code of the reason."""
        fault = self._stopped or self._fault
        return {} if fault is None else {"journal": fault.code}

    async def upkeep(self) -> None:
        """Once a second, see whether the journal holds; after a failure, try whether records can be written again."""
        while True:
            await asyncio.sleep(UPKEEP_S)
            try:
                await asyncio.to_thread(self._once)
                self._fault = None
            except UNRECORDED as error:
                self._fault = error

    def _once(self) -> None:
        if self._fault is not None:
            # a record that says something: from here on these models are served again
            for model in self._models.ready():
                model.record_loaded()
        self._journal.now()


def routes(health: Health, metrics: Metrics) -> Router:
    """The routes for whoever runs the server; they need no key and say nothing of what is served."""

    @get("/livez", sync_to_thread=False)
    def livez() -> ASGIApp:
        return Json(msgspec.json.encode({"alive": True}))

    @get("/readyz", sync_to_thread=False)
    def readyz() -> ASGIApp:
        missing = health.missing()
        content = msgspec.json.encode({"ready": not missing, "missing": missing})
        return Json(content, status=503 if missing else 200)

    @get("/metrics", sync_to_thread=False)
    def prometheus() -> Response[bytes]:
        return Response(metrics.text(), headers={"Content-Type": METRICS_TYPE})

    return Router("/", route_handlers=[livez, readyz, prometheus])
