"""OpenAI's protocol, as far as embeddings go: the `openai` package works unchanged.

Source: the OpenAI API reference, Embeddings and Models (https://platform.openai.com/docs/api-reference).
"""

from __future__ import annotations

import base64
import re
from typing import Any, Literal

import msgspec
from litestar import Request, Router, get, post
from litestar.types import ASGIApp
from msgspec import Struct

from serve.answer import Json
from serve.caller import must_reach
from serve.problems import RequestError
from serve.service import Service, admission_to, caller_of
from toolkit.model import Answer, Model

__all__ = ["EmbeddingsRequest", "routes"]


class EmbeddingsRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of POST /v1/embeddings. A field that is not known is refused: it might be one that was relied on."""

    model: str
    input: str | list[str]
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = None
    user: str | None = None

    @property
    def texts(self) -> str | list[str]:
        return self.input

    def written(self, model: Model, answer: Answer) -> bytes:
        """The answer as OpenAI writes it; base64 holds 32-bit floats, the lowest byte first."""
        return _written(self, model, answer)


def read(body: bytes) -> EmbeddingsRequest:
    """Raises RequestError: request_malformed, request_type. The message names a place, never what stands there."""
    try:
        return _DECODER.decode(body)
    except msgspec.ValidationError as error:
        place = _PLACE.search(str(error))
        raise RequestError("request_type", f"the body does not fit at {place[1] if place else '$'}") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise RequestError("request_malformed", "the body is no JSON") from None


def routes(service: Service, made: int) -> Router:
    """The routes under /v1. `made` is in seconds since 1970: since when the models are served."""
    listed = {name: _model(name, model, made) for name, model in service.models.items()}

    @post("/embeddings", status_code=200)
    async def embeddings(request: Request[Any, Any, Any]) -> ASGIApp:
        return await service.ask(request, read)

    @get("/models", sync_to_thread=False)
    def models(request: Request[Any, Any, Any]) -> ASGIApp:
        caller, served = caller_of(request), service.models
        seen = [
            one
            for name, one in listed.items()
            if caller.sees(served[name].manifest.name, served[name].manifest.version)
        ]
        return Json(msgspec.json.encode({"object": "list", "data": seen}))

    @get("/models/{name:str}", sync_to_thread=False)
    def model(request: Request[Any, Any, Any], name: str) -> ASGIApp:
        manifest = service.model(name).manifest
        must_reach(caller_of(request), manifest.name, manifest.version)
        return Json(msgspec.json.encode(listed[name]))

    return Router("/v1", route_handlers=[embeddings, models, model], before_request=admission_to(service))


_DECODER = msgspec.json.Decoder(EmbeddingsRequest)
# only what is known to be a name of ours: msgspec's message may quote the body before and after it
_PLACE = re.compile(r" - at `(\$\.(?:model|input(?:\[\d{1,9}\])?|encoding_format|dimensions|user))`$")


def _written(asked: EmbeddingsRequest, model: Model, answer: Answer) -> bytes:
    rows: list[Any]
    if asked.encoding_format == "base64":
        little = answer.embeddings.astype("<f4", copy=False)
        rows = [base64.b64encode(row.tobytes()).decode() for row in little]
    else:
        rows = answer.embeddings.tolist()
    return msgspec.json.encode(
        {
            "object": "list",
            "data": [{"object": "embedding", "index": index, "embedding": row} for index, row in enumerate(rows)],
            "model": asked.model,
            "usage": {"prompt_tokens": answer.tokens, "total_tokens": answer.tokens},
        }
    )


def _model(name: str, model: Model, made: int) -> dict[str, Any]:
    manifest = model.manifest
    return {
        "id": name,
        "object": "model",
        "created": made,
        "owned_by": "sealpress",
        "version": manifest.version,
        "digest": manifest.digest,
        "task": manifest.task,
        "licence": manifest.licence,
    }
