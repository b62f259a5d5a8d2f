"""The routes under /v2: the server, its models, inference, and the repository of models."""

from __future__ import annotations

from functools import partial
from importlib.metadata import version as version_of
from typing import Any, Final

import msgspec
from litestar import Request, Router, get, post
from litestar.params import FromPath
from litestar.types import ASGIApp, Scope
from msgspec import Struct

from serve.answer import Json
from serve.protocols.forms import Form
from serve.protocols.oip.inference import read
from serve.protocols.oip.metadata import PLATFORM, inputs_of, outputs_of
from serve.service import Service, admission_to
from toolkit.models import Entry

__all__ = ["routes"]

EXTENSIONS: Final = ("binary_tensor_data", "classification", "model_repository")
# the states of models in the words of the repository: what gave way to others is loaded when it is asked
STATES: Final = {"ready": "READY", "resting": "READY", "unloaded": "UNAVAILABLE", "refused": "UNAVAILABLE"}


class IndexBody(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    ready: bool = False


class LoadParameters(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """No configuration and no file of a model comes over the network: a bundle is signed as a whole."""

    unload_dependents: bool = False


class LoadBody(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    parameters: LoadParameters = LoadParameters()


def routes(service: Service) -> Router:
    """The routes under /v2. Only those of health need no key, and they say nothing of what is served."""
    return Router("/v2", route_handlers=[_health(service), _models(service), _repository(service)])


def _health(service: Service) -> Router:
    @get("/live", sync_to_thread=False)
    def live() -> ASGIApp:
        return _json({"live": True})

    @get("/ready", sync_to_thread=False)
    def ready() -> ASGIApp:
        missing = service.health.missing()
        return _json({"ready": not missing}, 503 if missing else 200)

    return Router("/health", route_handlers=[live, ready])


def _models(service: Service) -> Router:
    about = {"name": "sealpress", "version": version_of("sealpress"), "extensions": EXTENSIONS}

    @get("/", sync_to_thread=False)
    def server() -> ASGIApp:
        return _json(about)

    @get(["/models/{name:str}", "/models/{name:str}/versions/{version:str}"], sync_to_thread=False)
    def model(scope: Scope, name: FromPath[str], version: FromPath[str | None] = None) -> ASGIApp:
        manifest = service.found(scope, name, version).known
        others = (entry.manifest for entry in service.listed(scope).values() if entry.state != "refused")
        content = {
            "name": manifest.name,
            "versions": sorted(
                {other.version for other in others if other is not None and other.name == manifest.name}
            ),
            "platform": PLATFORM,
            "inputs": inputs_of(manifest),
            "outputs": outputs_of(manifest),
            "parameters": {"digest": manifest.digest, "licence": manifest.licence, "task": manifest.task},
        }
        return _json(content)

    @get(["/models/{name:str}/ready", "/models/{name:str}/versions/{version:str}/ready"], sync_to_thread=False)
    def model_ready(scope: Scope, name: FromPath[str], version: FromPath[str | None] = None) -> ASGIApp:
        service.found(scope, name, version)
        return _json({"name": name, "ready": True})

    @post(["/models/{name:str}/infer", "/models/{name:str}/versions/{version:str}/infer"], status_code=200)
    async def infer(
        request: Request[Any, Any, Any], name: FromPath[str], version: FromPath[str | None] = None
    ) -> ASGIApp:
        return await service.ask(request, partial(read, name, version))

    return Router("/", route_handlers=[server, model, model_ready, infer], before_request=admission_to(service))


def _repository(service: Service) -> Router:
    @post("/index", status_code=200)
    async def index(request: Request[Any, Any, Any]) -> ASGIApp:
        asked = _INDEX.read(await service.body(request) or b"{}")
        listed = (_indexed(name, entry) for name, entry in service.listed(request.scope).items())
        return _json([one for one in listed if one["state"] == "READY" or not asked.ready])

    @post("/models/{name:str}/load", status_code=200)
    async def load(request: Request[Any, Any, Any], name: FromPath[str]) -> ASGIApp:
        _LOAD.read(await service.body(request) or b"{}")
        await service.load(request.scope, name)
        return _json({})

    @post("/models/{name:str}/unload", status_code=200)
    async def unload(request: Request[Any, Any, Any], name: FromPath[str]) -> ASGIApp:
        _LOAD.read(await service.body(request) or b"{}")
        await service.unload(request.scope, name)
        return _json({})

    return Router("/repository", route_handlers=[index, load, unload], before_request=admission_to(service))


_INDEX: Form[IndexBody] = Form(IndexBody, "ready")
_LOAD: Form[LoadBody] = Form(LoadBody, "parameters", "unload_dependents")


def _indexed(name: FromPath[str], entry: Entry) -> dict[str, str]:
    """A model, also one that was refused and whose version is not known; the reason is the code of a fault."""
    version = "" if entry.manifest is None else entry.manifest.version
    return {"name": name, "version": version, "state": STATES[entry.state], "reason": entry.reason or ""}


def _json(content: object, status: int = 200) -> ASGIApp:
    return Json(msgspec.json.encode(content), status=status)
