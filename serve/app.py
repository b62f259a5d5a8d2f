"""The application: wiring only."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from litestar import Litestar
from litestar.types import ASGIApp

from compliance.keys import from_text
from compliance.witness.witnessed import Witnessed
from serve import health, receipts
from serve.body import MAX_BODY
from serve.problems import respond
from serve.protocols import openai, predict
from serve.protocols.oip import routes as oip
from serve.reloading import Reloading
from serve.service import Service
from serve.telemetry import Log, Metrics, Observed
from serve.witnessing import Witnessing
from toolkit.box import Box

__all__ = ["create_app"]


def create_app(box: Box, service: Service, log: Log, *, ready: Callable[[], None]) -> ASGIApp:
    """The ASGI application of a box. `ready` is called when it takes requests."""
    metrics = Metrics(lambda: service.queues)
    witnessing = _witnessing(box)

    @asynccontextmanager
    async def lifespan(_: Litestar) -> AsyncIterator[None]:
        service.start()
        reloading = Reloading(box, service.models, log.failed)
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, reloading.at_once)
        tasks = [asyncio.create_task(one.upkeep()) for one in (service.health, reloading)]
        if witnessing is not None:
            tasks.append(asyncio.create_task(witnessing.upkeep(log.failed, service.health.stopped)))
        ready()
        yield
        for task in tasks:
            task.cancel()
        service.close()
        log.flush()

    app = Litestar(
        route_handlers=[
            health.routes(service.health, metrics),
            receipts.route(service, box.journal),
            openai.routes(service, int(time.time())),
            predict.route(service),
            oip.routes(service),
        ],
        lifespan=[lifespan],
        exception_handlers={Exception: respond},
        request_max_body_size=MAX_BODY,
        # its pages load scripts from elsewhere, and what we read ourselves would not stand in it
        openapi_config=None,
        logging_config=None,
        debug=False,
    )
    return Observed(app, metrics, log)


def _witnessing(box: Box) -> Witnessing | None:
    asked = box.settings.witness
    if asked is None or asked.url is None:
        return None
    root, key = from_text(box.settings.journal.root), from_text(asked.key)
    return Witnessing(Witnessed(box.journal_folder, root, key), asked.url)
