"""sealpress serve"""

from __future__ import annotations

import socket
from collections import Counter
from pathlib import Path

import rich_click as click

from serve.tls import secured_by
from toolkit.box import Box
from toolkit.bundle import Bundle, BundleMissing
from toolkit.cli import output, with_settings
from toolkit.extras import needs
from toolkit.model import Model
from toolkit.settings import found_settings, read_settings

__all__ = ["listening_at", "serve", "url_of"]


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
    path = found_settings(settings)
    named = read_settings(path).serve.tls
    tls = None if named is None else secured_by(named, path.parent)
    with listening_at(host, port) as listening:
        box = Box.open(path)
        models = _models(box, bundles or tuple(sorted(box.folder.glob("*.bundle"))))
        address = url_of(host, listening, https=tls is not None)
        value = {"url": address, "models": sorted(models)}
        text = f"Serving {', '.join(sorted(models))} on {address} (OpenAI's protocol under {address}/v1)"
        run(box, models, listening, lambda: output(value, as_json, text), tls)


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


def url_of(host: str, listening: socket.socket, *, https: bool = False) -> str:
    scheme = "https" if https else "http"
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{listening.getsockname()[1]}"
