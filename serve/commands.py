"""sealpress serve"""

from __future__ import annotations

import socket
import sys
from collections import Counter
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

import rich_click as click

from serve.tls import secured_by
from toolkit.bundle import BundleMissing
from toolkit.cli import output, with_settings
from toolkit.extras import needs
from toolkit.settings import found_settings, read_settings

__all__ = ["listening_at", "serve", "url_of"]


@click.command()
@click.argument("bundles", nargs=-1, type=click.Path(path_type=Path), metavar="[BUNDLE]...")
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--port", default=8000, show_default=True, type=click.IntRange(0, 65_535), help="0 takes a free one.")
@click.option("--workers", default=1, show_default=True, type=click.IntRange(1, 64), help="Processes that serve.")
@click.option("--worker", hidden=True, help="Set by the process that starts the workers.")
@with_settings
def serve(
    bundles: tuple[Path, ...],
    host: str,
    port: int,
    workers: int,
    worker: str | None,
    settings: str | None,
    as_json: bool,
) -> int:
    """Serve models over HTTP, each call through the gate and on record.

    BUNDLE is a bundle or a folder of bundles; without it, every *.bundle and every *.sealed beside the settings is
    served, and what is put there later as well. SIGTERM finishes what is running; SIGHUP takes changed settings, rules
    and bundles at once.
    Callers need a key: `sealpress key create`.

    Example: sealpress serve model.bundle --port 8000
    """
    with needs("serve"):
        from serve.process import run
        from serve.workers import Told, supervise
    path = found_settings(settings)
    places = _places(bundles) or (path.parent,)
    named = read_settings(path).serve.tls
    tls = None if named is None else secured_by(named, path.parent)
    if worker is not None:
        told = Told.parsed(worker)
        told.follow()
        run(
            path,
            places,
            told.listening(),
            lambda models: told.ready(models.opened()),
            tls=tls,
            share=told.share(workers),
        )
        return 0
    with ExitStack() as listening:
        first = listening.enter_context(listening_at(host, port, shared=workers > 1))

        def announce(models: Mapping[str, str]) -> None:
            address = url_of(host, first, https=tls is not None)
            text = f"Serving {', '.join(sorted(models))} on {address} (OpenAI's protocol under {address}/v1)"
            costs = [f"  {name}: {cost}" for name, cost in sorted(models.items()) if cost]
            value = {"url": address, "models": sorted(models), "opened": models}
            output(value, as_json, "\n".join([text, *costs]))

        if workers == 1:
            run(path, places, first, lambda models: announce(models.opened()), tls=tls)
            return 0
        port = first.getsockname()[1]
        others = [listening.enter_context(listening_at(host, port, shared=True)) for _ in range(workers - 1)]
        again = [sys.executable, "-P", "-c", "import sealpress; sealpress.main()", *sys.argv[1:]]
        return supervise(again, [first, *others], announce)


def _places(bundles: tuple[Path, ...]) -> tuple[Path, ...]:
    for path, count in Counter(bundle.resolve() for bundle in bundles).items():
        if not path.exists():
            raise BundleMissing("bundle_not_found", f"{path} is no bundle")
        if count > 1:
            raise click.UsageError(f"{path} was given {count} times")
    return bundles


def listening_at(host: str, port: int, *, shared: bool = False) -> socket.socket:
    """A socket that takes connections; `shared` with others on the same port. Raises UsageError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listening = socket.create_server((host, port), family=family, backlog=2048, reuse_port=shared)
    except OSError as error:
        raise click.UsageError(f"{host} port {port} cannot be listened on: {error.strerror}") from None
    # what is accepted inherits it: an answer of two writes would wait 40 ms for the acknowledgement of the first
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening


def url_of(host: str, listening: socket.socket, *, https: bool = False) -> str:
    scheme = "https" if https else "http"
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{listening.getsockname()[1]}"
