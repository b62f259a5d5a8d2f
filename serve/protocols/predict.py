"""Our own typed route for any model, POST /v1/models/NAME/predict: {"inputs": ...} to {"outputs": ...}.

A model of texts takes a string or a list of them, one of images the base64 of a file or a list of those; `outputs` has
one entry for each: a list of numbers, or [{"label", "score"}, ...] with the best class first, or the entities that were
found, [{"start", "end", "label", "score"}, ...]. A model of tensors takes {NAME: nested lists} and gives the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Annotated, Any

import msgspec
from litestar import Request, post
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath
from litestar.types import ASGIApp
from msgspec import Meta, Struct

from policies.payload import Payload
from serve.obligations import carried
from serve.problems import RequestError
from serve.protocols import payloads
from serve.protocols.forms import Form, Said, bounded, inflated
from serve.service import Service, admission_to
from toolkit.bundle import BundleManifest
from toolkit.model import Answer, Model
from toolkit.runtime.images import MAX_IMAGES
from toolkit.runtime.numbers import numbers, packed, ranked
from toolkit.runtime.readers import MAX_TEXTS

__all__ = ["Prediction", "read", "route"]

TOP_K = 5


class Parameters(Said, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The context, and how many classes of each item are wanted."""

    top_k: Annotated[int, Meta(ge=1, le=2**31 - 1)] = TOP_K


class Body(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A field that is not known is refused: it might be one that was relied on."""

    inputs: msgspec.Raw
    parameters: Parameters = Parameters()


class Prediction:
    """What a client asks of one model."""

    version = None

    def __init__(self, model: str, body: Body) -> None:
        self.model = model
        self.said: Mapping[str, Any] = body.parameters.said()
        self._inputs = bytes(body.inputs)
        self._top_k = body.parameters.top_k

    def payload(self, manifest: BundleManifest) -> Payload:
        """Raises RequestError, InputError."""
        match payloads.takes(manifest):
            case "text":
                return payloads.texts(self._strings(MAX_TEXTS))
            case "image":
                return payloads.images([payloads.from_base64(text) for text in self._strings(MAX_IMAGES)])
            case "tensors":
                return self._tensors(manifest)

    def written(self, model: Model, answer: Answer) -> tuple[bytes, Mapping[str, str]]:
        """The answer in JSON; what is not finite is null."""
        manifest = model.manifest
        content = {
            "model": manifest.name,
            "version": manifest.version,
            "digest": manifest.digest,
            "outputs": self._outputs(manifest, answer),
            "usage": answer.usage,
            **carried(answer.obligations),
        }
        return msgspec.json.encode(content), {"Content-Type": "application/json"}

    def _strings(self, most: int) -> list[str]:
        strings = _STRINGS.read(bounded(self._inputs, most + 1), "$.inputs")
        return [strings] if isinstance(strings, str) else strings

    def _tensors(self, manifest: BundleManifest) -> Payload:
        if self._inputs.count(b'"') > 4 * len(manifest.inputs):  # a name has two, unless there are some in it
            raise RequestError("tensor_input", f"the model takes {len(manifest.inputs)} tensors")
        written = _TENSORS.read(self._inputs, "$.inputs")
        given: dict[str, payloads.Given] = {}
        for tensor in manifest.inputs:
            if tensor.name in written:
                data = bytes(written.pop(tensor.name))
                array = numbers(data, tensor.dtype, len(tensor.shape), tensor.name)
                given[tensor.name] = payloads.Given(tensor.dtype, array.shape, packed(array))
        # what is left over is no input of the model, and refused with the names of those that are
        return payloads.tensors(given | dict.fromkeys(written, _NOTHING), manifest)

    def _outputs(self, manifest: BundleManifest, answer: Answer) -> Any:
        if payloads.gives(manifest) == "tensors":
            return {name: array.tolist() for name, array in answer.outputs.items()}
        (array,) = answer.outputs.values()
        if payloads.gives(manifest) != "logits":
            return array.tolist()
        best, scores = ranked(array, self._top_k)
        return [
            [{"label": payloads.label(manifest, index), "score": score} for index, score in zip(*row, strict=True)]
            for row in zip(best.tolist(), scores.tolist(), strict=True)
        ]


def read(model: str, body: bytes, headers: Mapping[bytes, bytes]) -> Prediction:
    """Raises RequestError: request_encoding, request_too_large, request_malformed, request_type."""
    return Prediction(model, _BODY.read(inflated(body, headers)))


def route(service: Service) -> HTTPRouteHandler:
    """POST /v1/models/NAME/predict."""

    @post("/v1/models/{name:str}/predict", status_code=200, before_request=admission_to(service))
    async def predict(request: Request[Any, Any, Any], name: FromPath[str]) -> ASGIApp:
        return await service.ask(request, partial(read, name))

    return predict


_BODY: Form[Body] = Form(Body, "inputs", "parameters", *Parameters.__struct_fields__)
_STRINGS: Form[str | list[str]] = Form(str | list[str])
_TENSORS: Form[dict[str, msgspec.Raw]] = Form(dict[str, msgspec.Raw])
_NOTHING = payloads.Given("", (), b"")
