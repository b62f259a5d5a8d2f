"""The process that serves: its socket, its signals, its log, and the seal at the end."""

from __future__ import annotations

import gc
import os
import resource
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

import uvicorn
from litestar.types import ASGIApp

from compliance.journal.erasure import finish
from compliance.state.api_keys import ApiKeys
from compliance.state.disposition import Disposition
from serve.app import create_app
from serve.head import BoundedHead
from serve.service import Service
from serve.telemetry import Log
from toolkit.box import Box
from toolkit.models import Models

__all__ = ["DRAIN_S", "run", "serve"]

DRAIN_S = 20


def run(
    settings: Path,
    places: Sequence[Path],
    listening: socket.socket,
    ready: Callable[[Models], None],
    *,
    worker: int | None = None,
    workers: int = 1,
) -> None:
    """Serve the bundles at `places` until SIGTERM or SIGINT: then take no more, finish what is inside, and seal.

    SIGHUP looks at settings, policy and bundles at once. Of several `workers`, this process is the one of the number
    `worker`. Raises what opening the box and loading the models raise.
    """
    # uvicorn gives the signal back once it is done; before it has started, and then, this ends the process in order
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    # what a process holds, payloads and keys, must not be left on the disk when it dies
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with closing(Log(worker)) as log:
        log.take_over()
        box = Box(settings)
        with Disposition.open(box.salts_path) as disposition:
            finish(box.journal, disposition)
        cores = max(1, len(os.sched_getaffinity(0)) // workers)
        models = Models(box, places, cores=cores, refused=log.failed)
        keys = ApiKeys(box.folder / "state")
        service = Service(box, models, keys)
        try:
            models.refresh()
            models.must_serve()
            app = create_app(box, service, log, ready=lambda: ready(models), worker=worker, workers=workers)
            # what is there by now stays: it need not be looked through again and again
            gc.collect()
            gc.freeze()
            serve(app, listening)
        finally:
            keys.close()
            box.journal.close()


def serve(app: ASGIApp, listening: socket.socket) -> None:
    """Answer what comes in until SIGTERM or SIGINT, and finish what is inside then."""
    config = uvicorn.Config(
        app,
        http=BoundedHead,
        ws="none",
        lifespan="on",
        access_log=False,
        log_config=None,
        log_level="critical",  # what uvicorn has to say quotes what the client sent
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=DRAIN_S,
    )
    uvicorn.Server(config).run(sockets=[listening])
