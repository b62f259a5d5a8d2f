"""The application: wiring only."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

from litestar import Litestar
from litestar.types import ASGIApp

from compliance.keys import from_text
from compliance.state.api_keys import ApiKeys
from compliance.state.usage import Usage
from compliance.witness.witnessed import Witnessed
from serve import health, receipts
from serve.admission import Admission
from serve.identity import Identity, issuer_of
from serve.problems import respond
from serve.protocols import openai
from serve.reloading import Reloading
from serve.service import MAX_BODY, Service
from serve.telemetry import Log, Metrics, Observed
from serve.witnessing import Witnessing
from toolkit.box import Box
from toolkit.model import Model

__all__ = ["create_app"]


def create_app(
    box: Box, models: Mapping[str, Model], keys: ApiKeys, *, lanes: int, ready: Callable[[], None]
) -> ASGIApp:
    """The ASGI application that serves `models` by name. `ready` is called when it takes requests."""
    admission = Admission()
    usage = Usage(box.folder / "state", durable=box.settings.journal.durability == "durable")
    service = Service(box, models, Identity(keys, issuer_of(box), box.settings.serve), admission, usage, lanes)
    metrics = Metrics(lanes, lambda: service.places.waiting)
    log = Log()
    witnessing = _witnessing(box)

    @asynccontextmanager
    async def lifespan(_: Litestar) -> AsyncIterator[None]:
        reloading = Reloading(box, log.failed)
        tasks = [asyncio.create_task(one.upkeep()) for one in (service.health, reloading)]
        if witnessing is not None:
            tasks.append(asyncio.create_task(witnessing.upkeep(log.failed, service.health.stopped)))
        ready()
        yield
        for task in tasks:
            task.cancel()
        service.close()
        usage.close()
        log.flush()

    app = Litestar(
        route_handlers=[
            health.routes(service.health, metrics),
            receipts.route(service, box.journal),
            openai.routes(service, int(time.time())),
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
