"""The process that serves: its socket, its signals, its log, and the seal at the end."""

from __future__ import annotations

import ctypes
import gc
import os
import resource
import signal
import socket
import ssl
import sys
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import uvicorn
from litestar.types import ASGIApp

from compliance.journal.erasure import finish
from compliance.state.api_keys import ApiKeys
from compliance.state.disposition import Disposition
from compliance.state.usage import Usage
from serve.admission import Admission
from serve.app import create_app
from serve.head import BoundedHead
from serve.service import Service
from serve.telemetry import Log
from toolkit.box import Box
from toolkit.models import Models

__all__ = ["DRAIN_S", "Share", "run", "serve"]

DRAIN_S = 20
# mallopt(3) of glibc: what is freed of this size goes back to the system. Left alone, glibc raises the size with each
# large block that is freed, and a server that swaps its models then holds twice the memory that it needs.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
LARGE = 288 * 1024  # more than asyncio reads of a socket at a time (256 KiB), which would go back with each read


class Share(NamedTuple):
    """Which of how many workers a process is, and the memory in which they keep count of callers together."""

    worker: int = 0
    workers: int = 1
    buckets: int | None = None


ALONE = Share()


def run(
    settings: Path,
    places: Sequence[Path],
    listening: socket.socket,
    ready: Callable[[Models], None],
    *,
    tls: ssl.SSLContext | None = None,
    share: Share = ALONE,
) -> None:
    """Serve the bundles at `places` until SIGTERM or SIGINT: then take no more, finish what is inside, and seal.

    SIGHUP looks at settings, policy and bundles at once. `share` is the part of the work that this process has. Raises
    what opening the box and loading the models raise.
    """
    # uvicorn gives the signal back once it is done; before it has started, and then, this ends the process in order
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    # what a process holds, payloads and keys, must not be left on the disk when it dies
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _give_memory_back()
    with closing(Log(share.worker if share.workers > 1 else None)) as log:
        log.take_over()
        box = Box(settings)
        with Disposition.open(box.salts_path) as disposition:
            finish(box.journal, disposition)
        cores = max(1, len(os.sched_getaffinity(0)) // share.workers)
        models = Models(box, places, cores=cores, refused=log.failed)
        keys = ApiKeys(box.folder / "state")
        try:
            models.refresh()
            models.must_serve()
            usage = Usage(box.folder / "state", durable=box.settings.journal.durability == "durable")
            service = Service(box, models, keys, Admission(share.buckets, share.worker), usage)
            app = create_app(box, service, log, ready=lambda: ready(models), worker=share.worker, workers=share.workers)
            # what is there by now stays: it need not be looked through again and again
            gc.collect()
            gc.freeze()
            serve(app, listening, tls)
        finally:
            keys.close()
            box.journal.close()


def _give_memory_back() -> None:
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:  # another C library has no such thing
        for threshold in (M_TRIM_THRESHOLD, M_MMAP_THRESHOLD):
            mallopt(threshold, LARGE)


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
