"""The process that serves: its socket, its signals, its log, and the seal at the end."""

from __future__ import annotations

import os
import resource
import signal
import socket
import ssl
import sys
from collections.abc import Callable, Mapping

import uvicorn
from litestar.types import ASGIApp

from compliance.journal.erasure import finish
from compliance.state.api_keys import ApiKeys
from compliance.state.disposition import Disposition
from serve.app import create_app
from serve.head import BoundedHead
from toolkit.box import Box
from toolkit.model import Model

__all__ = ["run", "serve"]

DRAIN_S = 20


def run(
    box: Box,
    models: Mapping[str, Model],
    listening: socket.socket,
    ready: Callable[[], None],
    tls: ssl.SSLContext | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT: then take no more, finish what is inside, and sign the last head."""
    # uvicorn gives the signal back once it is done; before it has started, and then, this ends the process in order
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    # what a process holds, payloads and keys, must not be left on the disk when it dies
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with Disposition.open(box.salts_path) as disposition:
        finish(box.journal, disposition)
    keys = ApiKeys(box.folder / "state")
    try:
        app = create_app(box, models, keys, lanes=len(os.sched_getaffinity(0)), ready=ready)
        serve(app, listening, tls)
    finally:
        keys.close()
        box.journal.close()


def serve(app: ASGIApp, listening: socket.socket, tls: ssl.SSLContext | None = None) -> None:
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
        ssl_context_factory=None if tls is None else lambda *_: tls,
        loop="auto" if tls is None else "serve.tls:Loop",
    )
    uvicorn.Server(config).run(sockets=[listening])
