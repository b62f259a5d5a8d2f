"""OpenAI's protocol, as far as embeddings go: the `openai` package works unchanged.

Source: the OpenAI API reference, Embeddings and Models (https://platform.openai.com/docs/api-reference).
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Mapping
from typing import Any, Literal

import msgspec
from litestar import Request, Router, get, post
from litestar.params import FromPath
from litestar.types import ASGIApp, Scope
from msgspec import Struct

from policies.payload import Payload
from serve.answer import Json
from serve.obligations import carried
from serve.problems import RequestError
from serve.protocols import payloads
from serve.protocols.forms import Form, Said, bounded, inflated
from serve.service import Service, admission_to
from toolkit.bundle import BundleManifest
from toolkit.model import Answer, Model
from toolkit.models import Entry
from toolkit.runtime.numbers import packed
from toolkit.runtime.readers import MAX_TEXTS

__all__ = ["Embeddings", "read", "routes"]

JSON = {"Content-Type": "application/json"}


class Body(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of POST /v1/embeddings. A field that is not known is refused: it might be one that was relied on."""

    model: str
    input: msgspec.Raw
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = None
    user: str | None = None
    metadata: Said = Said()


class Embeddings:
    """What a client asks. `user` is taken and kept nowhere: the subject of a call has a field of its own."""

    version = None

    def __init__(self, body: Body, texts: list[str]) -> None:
        self.model = body.model
        self.said: Mapping[str, Any] = body.metadata.said()
        self._body = body
        self._texts = texts

    def payload(self, manifest: BundleManifest) -> Payload:
        """Raises RequestError: request_task, request_dimensions. InputError."""
        if (payloads.takes(manifest), payloads.gives(manifest)) != ("text", "embedding"):
            raise RequestError("request_task", "the model gives no embeddings of texts")
        hidden, asked = manifest.outputs[0].shape[-1], self._body.dimensions
        if asked is not None and isinstance(hidden, int) and asked != hidden:
            raise RequestError("request_dimensions", f"the embeddings of this model have {hidden} dimensions")
        return payloads.texts(self._texts)

    def written(self, model: Model, answer: Answer) -> tuple[bytes, Mapping[str, str]]:
        """The answer as OpenAI writes it; base64 holds 32-bit floats, the lowest byte first."""
        embeddings = answer.outputs["embedding"]
        rows = (
            [b64encode(packed(row)).decode() for row in embeddings]
            if self._body.encoding_format == "base64"
            else embeddings.tolist()
        )
        tokens = answer.usage["tokens"]
        content = {
            "object": "list",
            "data": [{"object": "embedding", "index": index, "embedding": row} for index, row in enumerate(rows)],
            "model": self.model,
            "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
            **carried(answer.obligations),
        }
        return msgspec.json.encode(content), JSON


def read(body: bytes, headers: Mapping[bytes, bytes]) -> Embeddings:
    """Raises RequestError: request_encoding, request_too_large, request_malformed, request_type, request_tokens.
    InputError: input_too_large."""
    asked = _BODY.read(inflated(body, headers))
    data = bytes(asked.input)
    if _TOKENS.match(data):
        raise RequestError("request_tokens", "the input are token ids")
    texts = _TEXTS.read(bounded(data, MAX_TEXTS + 1), "$.input")
    return Embeddings(asked, [texts] if isinstance(texts, str) else texts)


def routes(service: Service, made: int) -> Router:
    """The routes under /v1. `made` is in seconds since 1970: since when the models are served."""

    @post("/embeddings", status_code=200)
    async def embeddings(request: Request[Any, Any, Any]) -> ASGIApp:
        return await service.ask(request, read)

    @get("/models", sync_to_thread=False)
    def models(scope: Scope) -> ASGIApp:
        listed = [_model(name, entry, made) for name, entry in service.listed(scope).items() if entry.manifest]
        return Json(msgspec.json.encode({"object": "list", "data": listed}))

    @get("/models/{name:str}", sync_to_thread=False)
    def model(scope: Scope, name: FromPath[str]) -> ASGIApp:
        return Json(msgspec.json.encode(_model(name, service.found(scope, name), made)))

    return Router("/v1", route_handlers=[embeddings, models, model], before_request=admission_to(service))


_BODY: Form[Body] = Form(
    Body, "model", "input", "encoding_format", "dimensions", "user", "metadata", *Said.__struct_fields__
)
_TEXTS: Form[str | list[str]] = Form(str | list[str])
_TOKENS = re.compile(rb"\s*\[\s*[\[\d-]")


def _model(name: FromPath[str], entry: Entry, made: int) -> dict[str, Any]:
    manifest = entry.known
    return {
        "id": name,
        "object": "model",
        "created": made,
        "owned_by": "sealpress",
        "version": manifest.version,
        "digest": manifest.digest,
        "task": manifest.task,
        "licence": manifest.licence,
        "state": entry.state,
        "plan": entry.model and entry.model.plan,
    }
