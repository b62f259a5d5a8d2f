"""sealpress serve, sealpress key"""

from __future__ import annotations

import re
import socket
import time
from collections import Counter
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import get_args

import rich_click as click

from compliance.state.api_keys import ApiKeys
from policies.facts import Basis
from toolkit.box import Box
from toolkit.bundle import Bundle, BundleMissing
from toolkit.cli import output, with_settings
from toolkit.extras import needs
from toolkit.model import Model
from toolkit.settings import found_settings, read_settings

__all__ = ["key", "listening_at", "serve", "url_of"]

_NS = {"s": 10**9, "m": 60 * 10**9, "h": 3_600 * 10**9, "d": 86_400 * 10**9}


@click.command()
@click.argument("bundles", nargs=-1, type=click.Path(path_type=Path), metavar="[BUNDLE]...")
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--port", default=8000, show_default=True, type=click.IntRange(0, 65_535), help="0 takes a free one.")
@with_settings
def serve(bundles: tuple[Path, ...], host: str, port: int, settings: str | None, as_json: bool) -> None:
    """Serve models over HTTP, each call through the gate and on record. SIGTERM finishes what is running.

    Without BUNDLE, every *.bundle beside the settings is served. Callers need a key: `sealpress key create`.

    Example: sealpress serve model.bundle --port 8000
    """
    with needs("serve"):
        from serve.process import run
    with listening_at(host, port) as listening:
        box = Box.open(settings)
        models = _models(box, bundles or tuple(sorted(box.folder.glob("*.bundle"))))
        address = url_of(host, listening)
        value = {"url": address, "models": sorted(models)}
        text = f"Serving {', '.join(sorted(models))} on {address} (OpenAI's protocol under {address}/v1)"
        run(box, models, listening, lambda: output(value, as_json, text))


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


def _models(box: Box, bundles: tuple[Path, ...]) -> dict[str, Model]:
    if not bundles:
        raise BundleMissing("bundle_not_found", f"{box.folder} holds no *.bundle")
    read = [Bundle.read(path, box.settings.trust.signers) for path in bundles]
    names = Counter(bundle.manifest.name for bundle in read)
    models: dict[str, Model] = {}
    for bundle in read:
        name, digest = bundle.manifest.name, bundle.manifest.digest
        # two of one name are told apart by what they are; neither gets the name that both claim
        served_as = name if names[name] == 1 else f"{name}@{digest[:12]}"
        if served_as in models:
            raise click.UsageError(f"{bundle.path} was given before, or is a copy of one that was")
        models[served_as] = Model(bundle, box)
    return models


def listening_at(host: str, port: int) -> socket.socket:
    """A socket that takes connections. Raises UsageError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listening = socket.create_server((host, port), family=family, backlog=2048)
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
