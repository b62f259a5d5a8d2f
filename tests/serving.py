"""The application in this process, with its queues, lanes, gate and journal, and without a socket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, closing
from typing import Any

import httpx
from litestar import Litestar
from litestar.routes import HTTPRoute
from litestar.types import ASGIApp

from compliance.state.api_key_table import Defaults, Terms
from compliance.state.api_keys import ApiKeys
from compliance.state.usage import Usage
from serve.admission import Admission
from serve.app import create_app
from serve.service import Service
from serve.telemetry import Log, Observed
from toolkit.box import Box
from toolkit.models import Models

__all__ = ["Running", "running", "serving"]


class Running:
    """An application that runs: `http` asks it with the key in `headers`, `app` is itself and `service` behind it,
    `routes` are its own as METHOD PATH."""

    def __init__(
        self, app: ASGIApp, http: httpx.AsyncClient, service: Service, headers: dict[str, str], routes: frozenset[str]
    ) -> None:
        self.app = app
        self.http = http
        self.service = service
        self.headers = headers
        self.routes = routes

    async def embed(self, text: str = "where is the ward", model: str = "small", **headers: str) -> httpx.Response:
        """POST /v1/embeddings with context headers: `x_purpose="search"`."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        body = {"model": model, "input": text}
        return await self.http.post("/v1/embeddings", json=body, headers={**self.headers, **named})

    async def metrics(self) -> dict[str, float]:
        """Each series by its name and labels, as Prometheus reads it."""
        text = (await self.http.get("/metrics")).text
        lines = (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
        return {name: float(value) for name, _, value in lines}


def serving(box: Box, scenario: Callable[[Running], Awaitable[None]], **options: Any) -> None:
    """Run a scenario on the bundles of a box, in the main thread, as the server itself runs."""

    async def main() -> None:
        async with running(box, **options) as server:
            await asyncio.wait_for(scenario(server), 60)

    asyncio.run(main())


@asynccontextmanager
async def running(box: Box, **options: Any) -> AsyncIterator[Running]:
    """`options` go to create_app."""
    models = Models(box, (box.folder,), cores=1)
    with closing(Log()) as log, closing(ApiKeys(box.folder / "state")) as keys:
        models.refresh()
        usage = Usage(box.folder / "state")
        service = Service(box, models, keys, Admission(), usage)
        _, key = keys.create(0, Terms(admin=True, defaults=Defaults(purpose="search")))
        app = create_app(box, service, log, **{"ready": lambda: None, **options})
        async with _lifespan(app):
            transport = httpx.ASGITransport(_stated(app))
            async with httpx.AsyncClient(transport=transport, base_url="http://box") as http:
                yield Running(app, http, service, {"Authorization": f"Bearer {key}"}, _routes(app))


def _routes(app: ASGIApp) -> frozenset[str]:
    """Those that were written, without the OPTIONS that Litestar adds to each."""
    assert isinstance(app, Observed)
    assert isinstance(app.app, Litestar)
    return frozenset(
        f"{method} {route.path_format}"
        for route in app.app.routes
        if isinstance(route, HTTPRoute)
        for method in route.methods
        if method != "OPTIONS"
    )


def _stated(app: ASGIApp) -> Any:
    """With the state of a request, which servers add and httpx does not."""

    async def stated(scope: Any, receive: Any, send: Any) -> None:
        with_state: Any = {**scope, "state": {}}
        await app(with_state, receive, send)

    return stated


@asynccontextmanager
async def _lifespan(app: ASGIApp) -> AsyncIterator[None]:
    told: asyncio.Queue[Any] = asyncio.Queue()
    said: asyncio.Queue[Any] = asyncio.Queue()
    scope: Any = {"type": "lifespan", "state": {}}
    running: Any = app(scope, told.get, said.put)
    task: asyncio.Task[None] = asyncio.create_task(running)
    await told.put({"type": "lifespan.startup"})
    assert (await said.get())["type"] == "lifespan.startup.complete"
    try:
        yield
    finally:
        await told.put({"type": "lifespan.shutdown"})
        assert (await said.get())["type"] == "lifespan.shutdown.complete"
        await task
