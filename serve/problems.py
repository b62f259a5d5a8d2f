"""Every refusal and every error as one document: problem+json (RFC 9457) with code, hint and findings.

On the routes of a protocol it carries that protocol's `error` member too. Nothing that a client sent is repeated, and
no 5xx tells more than its code: the reason is in the log of the operator.
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, ClassVar

import msgspec
from litestar import Request, Response
from litestar.exceptions import HTTPException
from litestar.types import ASGIApp, Scope

from compliance.issuer.errors import JwksError, JwtError
from compliance.journal.errors import JournalError, NotReadable
from compliance.keys import KeyFault
from compliance.state.api_keys import ApiKeyError
from compliance.state.errors import StateError
from compliance.witness.errors import WitnessError
from policies.errors import Denied, Failed, Fault, Unusable
from policies.payload import InputError
from serve.admission import Busy
from serve.answer import Json
from serve.caller import ScopeError
from serve.queue import Abandoned
from serve.telemetry import trace_of, where
from toolkit.generating import GenerationStopped
from toolkit.models import Unserved
from toolkit.runtime.sampling import GenerationError

__all__ = [
    "MEDIA_TYPE",
    "STATUSES",
    "RequestError",
    "document",
    "headers_of",
    "respond",
    "status_for",
    "status_of",
    "told",
]

MEDIA_TYPE = "application/problem+json"


class RequestError(Unusable):
    """A request that cannot be read, or that asks for what is not here."""

    hints: ClassVar[Mapping[str, str]] = {
        "request_malformed": "Send HTTP/1.1 with a JSON object in UTF-8 as its body; NaN and Infinity are not JSON.",
        "request_type": "Send the fields that the documentation of this route names, each of its type, and no others.",
        "request_header": "Send each header once, as UTF-8 of at most 256 characters.",
        "request_context": "Say it in the header or in the body, or the same in both.",
        "request_head": "Send a request line and headers as RFC 9112 has them, 16 kB at most.",
        "request_too_large": "Send at most 8,000,000 bytes at once: split the texts over several calls.",
        "request_encoding": "Send the body as it is, or whole under a Content-Encoding of gzip or deflate.",
        "request_tokens": "Send texts: the model's own tokenizer makes tokens of them.",
        "request_dimensions": "Leave `dimensions` out: the embeddings of a model are given as they are, or not at all.",
        "request_unsupported": "Leave out what the message names, or give it the value that changes nothing: "
        "docs/serving.md lists what is done.",
        "request_chat": "Ask this model at /v1/completions: it goes on with a text, and knows no turns.",
        "tensor_binary": "Give the length of the JSON in Inference-Header-Content-Length, and behind the JSON for each "
        "input as many bytes as its binary_data_size, datatype and shape say.",
        "tensor_input": "Give the inputs that GET /v2/models/NAME lists, each of its datatype and shape; an image in "
        "JSON is the base64 of its file.",
        "tensor_output": "Take the names of outputs from GET /v2/models/NAME; classification goes with logits alone.",
        "request_task": "Ask this model at /v1/models/NAME/predict or /v2/models/NAME/infer, which take any.",
        "request_incomplete": "Send the whole body without a long pause.",
        "route_unknown": "Check the path: GET /v1/models lists what is served.",
        "method_unknown": "Use the method that the header Allow names.",
    }


# the one table from faults to statuses: a code before its family; what is not here is our own fault
STATUSES: Mapping[type[Fault] | str, HTTPStatus] = {
    Denied: HTTPStatus.FORBIDDEN,
    ApiKeyError: HTTPStatus.UNAUTHORIZED,
    JwtError: HTTPStatus.UNAUTHORIZED,
    ScopeError: HTTPStatus.FORBIDDEN,
    InputError: HTTPStatus.BAD_REQUEST,
    "input_too_large": HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    RequestError: HTTPStatus.BAD_REQUEST,
    "request_head": HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
    "request_too_large": HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    "request_encoding": HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    "request_incomplete": HTTPStatus.REQUEST_TIMEOUT,
    "route_unknown": HTTPStatus.NOT_FOUND,
    "method_unknown": HTTPStatus.METHOD_NOT_ALLOWED,
    Unserved: HTTPStatus.SERVICE_UNAVAILABLE,
    "model_unknown": HTTPStatus.NOT_FOUND,
    Abandoned: HTTPStatus.SERVICE_UNAVAILABLE,  # nobody is there to read it
    "usage_grant_lease": HTTPStatus.SERVICE_UNAVAILABLE,
    GenerationError: HTTPStatus.BAD_REQUEST,
    "generation_memory": HTTPStatus.SERVICE_UNAVAILABLE,
    GenerationStopped: HTTPStatus.SERVICE_UNAVAILABLE,
    WitnessError: HTTPStatus.FORBIDDEN,
    "exchange_malformed": HTTPStatus.BAD_REQUEST,
    "witness_unknown": HTTPStatus.NOT_FOUND,
    "witness_stale": HTTPStatus.CONFLICT,
    "witness_fork": HTTPStatus.CONFLICT,
    "exchange_proof": HTTPStatus.UNPROCESSABLE_ENTITY,
    Busy: HTTPStatus.SERVICE_UNAVAILABLE,
    "rate_exceeded": HTTPStatus.TOO_MANY_REQUESTS,
    "tokens_exceeded": HTTPStatus.TOO_MANY_REQUESTS,
    "concurrency_exceeded": HTTPStatus.TOO_MANY_REQUESTS,
    JournalError: HTTPStatus.SERVICE_UNAVAILABLE,
    StateError: HTTPStatus.SERVICE_UNAVAILABLE,
    KeyFault: HTTPStatus.SERVICE_UNAVAILABLE,
    JwksError: HTTPStatus.SERVICE_UNAVAILABLE,
    NotReadable: HTTPStatus.NOT_FOUND,
    "record_unsigned": HTTPStatus.CONFLICT,
    Fault: HTTPStatus.INTERNAL_SERVER_ERROR,
}

_LITESTAR = {
    HTTPStatus.BAD_REQUEST: ("request_malformed", "the request is malformed"),
    HTTPStatus.NOT_FOUND: ("route_unknown", "there is nothing at this path"),
    HTTPStatus.METHOD_NOT_ALLOWED: ("method_unknown", "this path does not take this method"),
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: ("request_too_large", "the body is too large"),
}
_OPENAI_TYPES = {
    HTTPStatus.UNAUTHORIZED: "authentication_error",
    HTTPStatus.FORBIDDEN: "permission_error",
    HTTPStatus.TOO_MANY_REQUESTS: "rate_limit_error",
}
_GIVEN = {"/v1/chat/completions": "messages", "/v1/completions": "prompt"}  # the field with what a model is given
_UNSAID = "The server cannot answer this now; its log holds the reason."


def status_of(fault: Fault) -> HTTPStatus:
    """The status that a fault is answered with."""
    return status_for(type(fault), fault.code)


def status_for(family: type[Fault], code: str) -> HTTPStatus:
    """The status for a code of a family."""
    if code in STATUSES:
        return STATUSES[code]
    return next(STATUSES[one] for one in family.__mro__ if one in STATUSES)


class _Written(Response[bytes]):
    """What is written already need be no response of Litestar's, which takes as long as the rest of a refusal."""

    def __init__(self, answer: Json) -> None:
        self._answer = answer

    def to_asgi_response(self, *_: Any, **__: Any) -> ASGIApp:  # type: ignore[override] # any application will do
        return self._answer


def respond(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """The answer to a request that failed, and a word about it for the log."""
    return _Written(_answer(request.scope, error))


def told(scope: Scope, error: Exception) -> Fault:
    """What a request failed by, with a word about it for the log."""
    trace = trace_of(scope)
    fault = _fault(error)
    trace.code = fault.code
    if status_of(fault) >= HTTPStatus.INTERNAL_SERVER_ERROR:
        trace.reason = where(error) if fault.code == "internal" else str(fault)
    if isinstance(fault, Denied):
        trace.call = fault.call
        findings: tuple[Any, ...] = fault.findings
        trace.refused_by = tuple(finding.rule for finding in findings if not finding.ok)
    return fault


def _answer(scope: Scope, error: Exception) -> Json:
    fault = told(scope, error)
    headers = {"Content-Type": MEDIA_TYPE, **trace_of(scope).headers(), **headers_of(fault, error)}
    return Json(document(fault, scope["path"]), headers, status_of(fault))


def document(fault: Fault, path: str = "/") -> bytes:
    """The problem document of a fault as JSON, for a request to this path."""
    status = status_of(fault)
    said = status < HTTPStatus.INTERNAL_SERVER_ERROR or isinstance(fault, Busy)
    problem: dict[str, Any] = {
        "type": "about:blank",
        "title": status.phrase,
        "status": status,
        "detail": str(fault) if said else _UNSAID,
        "code": fault.code,
        "hint": fault.hint,
    }
    if isinstance(fault, Denied):
        problem["findings"] = fault.findings
    if isinstance(fault, WitnessError) and fault.last is not None:
        problem["last"] = fault.last
    message = f"{str(fault).rstrip('.')}. {fault.hint}" if said else _UNSAID
    if path.startswith("/v1/"):
        problem["error"] = _openai_error(fault, status, message, path)
    elif path == "/v2" or path.startswith("/v2/"):
        problem["error"] = message  # as the Open Inference Protocol has it
    return msgspec.json.encode(problem)


def _openai_error(fault: Fault, status: HTTPStatus, message: str, path: str) -> dict[str, Any]:
    return {
        "message": message,
        "type": _OPENAI_TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error"),
        "param": _param(fault, path),
        "code": fault.code,
    }


def _fault(error: Exception) -> Fault:
    if isinstance(error, Fault):
        return error
    if isinstance(error, MemoryError):
        return Failed("memory", "there is not enough memory")
    if isinstance(error, HTTPException) and error.status_code in _LITESTAR:
        return RequestError(*_LITESTAR[HTTPStatus(error.status_code)])
    return Failed("internal", type(error).__name__)


def headers_of(fault: Fault, error: Exception | None = None) -> dict[str, str]:
    """The headers that the answer to a fault carries; `error` is what it was made of."""
    if isinstance(fault, Busy):
        return {"Retry-After": str(fault.retry_after_s)}
    if isinstance(fault, ApiKeyError):
        return {"WWW-Authenticate": 'Bearer realm="sealpress"'}
    if isinstance(fault, JwtError):
        return {"WWW-Authenticate": 'Bearer realm="sealpress", error="invalid_token"'}  # RFC 6750
    if fault.code == "method_unknown" and isinstance(error, HTTPException):
        return {"Allow": (error.headers or {}).get("allow", "")}
    if fault.code in ("request_too_large", "request_incomplete"):
        # what is still to come of the body is not read
        return {"Connection": "close"}
    return {}


def _param(fault: Fault, path: str) -> str | None:
    if fault.code == "model_unknown":
        return "model"
    return _GIVEN.get(path, "input") if isinstance(fault, InputError) else None
