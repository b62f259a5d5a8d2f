"""The application: wiring only."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from litestar import Litestar
from litestar.types import ASGIApp

from compliance.keys import from_text
from compliance.witness.witnessed import Witnessed
from serve import health, receipts
from serve.body import MAX_BODY
from serve.openapi import routes as openapi
from serve.problems import respond
from serve.protocols import completions, openai, predict
from serve.protocols.oip import routes as oip
from serve.reloading import Reloading
from serve.service import Service
from serve.telemetry import Log, Observed
from serve.telemetry.gauges import Gauges
from serve.telemetry.metrics import Metrics
from serve.witnessing import Witnessing
from toolkit.box import Box
from toolkit.extras import needs

if TYPE_CHECKING:
    from serve.telemetry.spans import Spans

__all__ = ["create_app"]


def create_app(
    box: Box,
    service: Service,
    log: Log,
    *,
    ready: Callable[[], None],
    worker: int = 0,
    workers: int = 1,
) -> ASGIApp:
    """The ASGI application of a box. `ready` is called when it takes requests.

    Of several `workers` it is in the one of the number `worker`. Raises MissingExtra for traces without libraries.
    """
    metrics = Metrics(worker, shared=workers > 1)
    gauges = Gauges(
        metrics,
        lambda: service.queues,
        service.models,
        box.journal,
        lambda: service.health.signing_days,
        service.quotas,
        lambda: service.places,
        workers,
    )
    spans = _spans(box, metrics, log)
    witnessing = _witnessing(box)

    @asynccontextmanager
    async def lifespan(_: Litestar) -> AsyncIterator[None]:
        service.start()
        reloading = Reloading(box, service.models, log.failed)
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, reloading.at_once)
        tasks = [asyncio.create_task(one.upkeep()) for one in (service.health, reloading, gauges)]
        if witnessing is not None:
            tasks.append(asyncio.create_task(witnessing.upkeep(log.failed, service.health.stopped)))
        ready()
        yield
        for task in tasks:
            task.cancel()
        service.close()
        if spans is not None:
            spans.close()

    app = Litestar(
        route_handlers=[
            health.routes(service.health, gauges),
            openapi.routes(),
            receipts.route(service, box.journal),
            openai.routes(service, int(time.time())),
            *completions.routes(service),
            predict.route(service),
            oip.routes(service),
        ],
        lifespan=[lifespan],
        exception_handlers={Exception: respond},
        request_max_body_size=MAX_BODY,
        # ours is in serve.openapi: what we read ourselves would not stand in it, and its pages load foreign scripts
        openapi_config=None,
        logging_config=None,
        debug=False,
    )
    return Observed(app, log, metrics, spans, service.busy)


def _spans(box: Box, metrics: Metrics, log: Log) -> Spans | None:
    asked = box.settings.serve.traces
    if asked is None:
        return None
    with needs("telemetry"):
        from serve.telemetry.spans import Spans
    return Spans(asked, f"{box.settings.box.name}/{metrics.worker}", metrics, log.failed)


def _witnessing(box: Box) -> Witnessing | None:
    asked = box.settings.witness
    if asked is None or asked.url is None:
        return None
    root, key = from_text(box.settings.journal.root), from_text(asked.key)
    return Witnessing(Witnessed(box.journal_folder, root, key), asked.url)
