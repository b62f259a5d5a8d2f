"""sealpress serve, sealpress key"""

from __future__ import annotations

import re
import socket
import sys
import time
from collections import Counter
from collections.abc import Collection
from contextlib import ExitStack, closing
from datetime import UTC, datetime
from pathlib import Path
from typing import get_args

import rich_click as click

from compliance.state.api_keys import ApiKeys
from policies.facts import Basis
from toolkit.bundle import BundleMissing
from toolkit.cli import output, with_settings
from toolkit.extras import needs
from toolkit.settings import found_settings, read_settings

__all__ = ["key", "listening_at", "serve", "url_of"]

_NS = {"s": 10**9, "m": 60 * 10**9, "h": 3_600 * 10**9, "d": 86_400 * 10**9}


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

    BUNDLE is a bundle or a folder of bundles; without it, every *.bundle beside the settings is served, and what is put
    there later as well. SIGTERM finishes what is running; SIGHUP takes changed settings, rules and bundles at once.
    Callers need a key: `sealpress key create`.

    Example: sealpress serve model.bundle --port 8000
    """
    with needs("serve"):
        from serve.process import run
        from serve.workers import Told, supervise
    path = found_settings(settings)
    places = _places(bundles) or (path.parent,)
    if worker is not None:
        told = Told.parsed(worker)
        run(
            path,
            places,
            told.listening(),
            lambda models: told.ready(models.entries),
            worker=told.number,
            workers=workers,
        )
        return 0
    with ExitStack() as listening:
        first = listening.enter_context(listening_at(host, port, shared=workers > 1))

        def announce(models: Collection[str]) -> None:
            address = url_of(host, first)
            text = f"Serving {', '.join(sorted(models))} on {address} (OpenAI's protocol under {address}/v1)"
            output({"url": address, "models": sorted(models)}, as_json, text)

        if workers == 1:
            run(path, places, first, lambda models: announce(models.entries))
            return 0
        port = first.getsockname()[1]
        others = [listening.enter_context(listening_at(host, port, shared=True)) for _ in range(workers - 1)]
        again = [*sys.orig_argv[:1], "-P", "-c", "import sealpress; sealpress.main()", *sys.argv[1:]]
        return supervise(again, [first, *others], announce)


@click.group()
def key() -> None:
    """The API keys of this box."""


@key.command()
@click.option("--purpose", help="The purpose of calls that name none: one that the settings declare.")
@click.option("--basis", type=click.Choice(get_args(Basis)), help="The legal basis of calls that name none.")
@click.option(
    "--expires", metavar="TIME", help="When: in 90d, 12h, 30m or 45s, or a date or time in UTC.  [default: never]"
)
@with_settings
def create(purpose: str | None, basis: str | None, expires: str | None, settings: str | None, as_json: bool) -> None:
    """Make a key and print it, this once: it is not kept.

    Example: sealpress key create --purpose search --expires 90d --json
    """
    path = found_settings(settings)
    if purpose is not None and purpose not in read_settings(path).purposes:
        raise click.UsageError("the settings declare no such purpose")
    now = time.time_ns()
    until = None if expires is None else _expiry_ns(expires, now)
    with closing(ApiKeys(path.parent / "state")) as keys:
        made, text = keys.create(now, purpose=purpose, basis=basis, expires=until)
    value = {"id": made.id, "key": text, "purpose": purpose, "basis": basis, "expires": _time(made.expires)}
    shown = f"{text}\n\nKeep it now: it is not shown again. `sealpress key revoke {made.id}` withdraws it."
    output(value, as_json, shown)


@key.command()
@click.argument("identifier", metavar="ID")
@with_settings
def revoke(identifier: str, settings: str | None, as_json: bool) -> None:
    """Withdraw a key. It opens nothing from now on, also where a server is running.

    Example: sealpress key revoke 4be1c0a7f3d29e58
    """
    path = found_settings(settings)
    with closing(ApiKeys(path.parent / "state")) as keys:
        revoked = keys.revoke(identifier, time.time_ns())
    value = {"id": revoked.id, "revoked": _time(revoked.revoked)}
    output(value, as_json, f"Revoked {revoked.id}.")


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


def url_of(host: str, listening: socket.socket) -> str:
    return f"http://{f'[{host}]' if ':' in host else host}:{listening.getsockname()[1]}"


def _expiry_ns(text: str, now: int) -> int:
    """A duration from now, or a date or time as ISO 8601 has it, to nanoseconds since 1970."""
    duration = re.fullmatch(r"([1-9]\d{0,5})([smhd])", text)
    if duration is not None:
        return now + int(duration[1]) * _NS[duration[2]]
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise click.UsageError("--expires takes 90d, 12h, 30m, 45s, or a date such as 2027-01-31") from None
    return int((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()) * 10**9


def _time(at: int | None) -> str | None:
    return None if at is None else datetime.fromtimestamp(at / 1e9, UTC).isoformat(timespec="seconds")
