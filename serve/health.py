"""Alive, ready, and the upkeep of the journal while the server runs."""

from __future__ import annotations

import asyncio
import time

import msgspec
from litestar import Router, get
from litestar.types import ASGIApp

from compliance.journal.errors import JournalError
from compliance.keys import KeyFault
from compliance.state.errors import StateError
from policies.errors import Fault
from serve.answer import Json
from serve.telemetry.gauges import Gauges
from serve.telemetry.metrics import METRICS_TYPE
from toolkit.box import Box
from toolkit.doctor import FEW_DAYS
from toolkit.models import Models

__all__ = ["UNRECORDED", "Health", "routes"]

UPKEEP_S = 1.0
LOOK_S = 60.0
# because of these no record can be written, so nothing may be served
UNRECORDED = (JournalError, StateError, KeyFault)


class Health:
    """Whether the journal can be written, and a model can be asked. While it cannot be written, nothing is served."""

    def __init__(self, box: Box, models: Models) -> None:
        self._journal = box.journal
        self._models = models
        self._fault: Fault | None = None
        self._stopped: Fault | None = None
        self.signing_days: int | None = None  # for how many the journal can be signed, once that was looked up
        self._looked = -LOOK_S

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
        missing: dict[str, str] = {}
        if (fault := self._stopped or self._fault) is not None:
            missing["journal"] = fault.code
        if (code := self._unserved()) is not None:
            missing["models"] = code
        return missing

    def warnings(self) -> dict[str, str]:
        """What will be missing soon."""
        days = self.signing_days
        return {"signing_keys": f"for {days} days"} if days is not None and days < FEW_DAYS else {}

    async def upkeep(self) -> None:
        """Once a second, see whether the journal holds; after a failure, try whether records can be written again."""
        while True:
            try:
                await asyncio.to_thread(self._once)
                self._fault = None
            except UNRECORDED as error:
                self._fault = error
            await asyncio.sleep(UPKEEP_S)

    def _once(self) -> None:
        if self._fault is not None:
            # a record that says something: from here on these models are served again
            for model in self._models.ready():
                model.record_loaded()
        self._journal.now()
        if time.monotonic() - self._looked >= LOOK_S:
            self._looked = time.monotonic()
            self.signing_days = self._journal.days_left()

    def _unserved(self) -> str | None:
        """Why no model can be asked, when none can."""
        states = {entry.state for entry in self._models.entries.values()}
        if states & {"ready", "resting"}:
            return None
        return "model_unloaded" if "unloaded" in states else "model_refused" if states else "bundle_not_found"


def routes(health: Health, gauges: Gauges) -> Router:
    """The routes for whoever runs the server; they need no key, and say nothing of what is served and to whom."""

    @get("/livez", sync_to_thread=False)
    def livez() -> ASGIApp:
        return Json(msgspec.json.encode({"alive": True}))

    @get("/startupz", sync_to_thread=False)
    def startupz() -> ASGIApp:
        # nothing listens before the models are loaded
        return Json(msgspec.json.encode({"started": True}))

    @get("/readyz", sync_to_thread=False)
    def readyz() -> ASGIApp:
        missing = health.missing()
        content = {"ready": not missing, "missing": missing, "warnings": health.warnings() | gauges.warnings()}
        return Json(msgspec.json.encode(content), status=503 if missing else 200)

    @get("/metrics")
    async def metrics() -> ASGIApp:
        return Json(await asyncio.to_thread(gauges.text), {"Content-Type": METRICS_TYPE})

    return Router("/", route_handlers=[livez, startupz, readyz, metrics])
