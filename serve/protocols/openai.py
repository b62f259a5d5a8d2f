"""OpenAI's protocol, as far as embeddings go: the `openai` package works unchanged.

Source: the OpenAI API reference, Embeddings and Models (https://platform.openai.com/docs/api-reference).
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from typing import Any, Literal

import msgspec
from litestar import Request, Router, get, post
from litestar.types import ASGIApp
from msgspec import Struct

from policies.payload import Payload
from serve.answer import Json
from serve.problems import RequestError
from serve.service import Service, admission_to
from toolkit.bundle import BundleManifest
from toolkit.model import Answer, Model
from toolkit.models import Entry, Models
from toolkit.runtime.readers import checked_texts

__all__ = ["EmbeddingsRequest", "routes"]


class EmbeddingsRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of POST /v1/embeddings. A field that is not known is refused: it might be one that was relied on."""

    model: str
    input: str | list[str]
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = None
    user: str | None = None

    @property
    def version(self) -> None:
        return None

    @property
    def said(self) -> Mapping[str, str]:
        return {}

    def payload(self, manifest: BundleManifest) -> Payload:
        return Payload.checked({"texts": checked_texts(self.input)})

    def written(self, model: Model, answer: Answer) -> tuple[bytes, Mapping[str, str]]:
        """The answer as OpenAI writes it; base64 holds 32-bit floats, the lowest byte first."""
        return _written(self, model, answer), {}


def read(body: bytes, _: Mapping[bytes, bytes]) -> EmbeddingsRequest:
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

    @post("/embeddings", status_code=200)
    async def embeddings(request: Request[Any, Any, Any]) -> ASGIApp:
        return await service.ask(request, read)

    @get("/models", sync_to_thread=False)
    def models() -> ASGIApp:
        return Json(msgspec.json.encode({"object": "list", "data": _listed(service.models, made)}))

    @get("/models/{name:str}", sync_to_thread=False)
    def model(name: str) -> ASGIApp:
        entry = service.models.find(name)
        return Json(msgspec.json.encode(_model(name, entry, made)))

    return Router("/v1", route_handlers=[embeddings, models, model], before_request=admission_to(service))


_DECODER = msgspec.json.Decoder(EmbeddingsRequest)
# only what is known to be a name of ours: msgspec's message may quote the body before and after it
_PLACE = re.compile(r" - at `(\$\.(?:model|input(?:\[\d{1,9}\])?|encoding_format|dimensions|user))`$")


def _written(asked: EmbeddingsRequest, model: Model, answer: Answer) -> bytes:
    rows: list[Any]
    (embeddings,) = answer.outputs.values()
    if asked.encoding_format == "base64":
        little = embeddings.astype("<f4", copy=False)
        rows = [base64.b64encode(row.tobytes()).decode() for row in little]
    else:
        rows = embeddings.tolist()
    return msgspec.json.encode(
        {
            "object": "list",
            "data": [{"object": "embedding", "index": index, "embedding": row} for index, row in enumerate(rows)],
            "model": asked.model,
            "usage": {"prompt_tokens": answer.usage["tokens"], "total_tokens": answer.usage["tokens"]},
        }
    )


def _listed(models: Models, made: int) -> list[dict[str, Any]]:
    return [_model(name, entry, made) for name, entry in models.entries.items() if entry.manifest is not None]


def _model(name: str, entry: Entry, made: int) -> dict[str, Any]:
    manifest = entry.manifest
    assert manifest is not None  # noqa: S101 - only such are listed and found
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
