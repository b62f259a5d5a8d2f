"""The OpenAPI document, made from the operations once."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from functools import cache
from http import HTTPStatus
from typing import Any

import msgspec

from policies.errors import Denied, Fault
from policies.facts import Finding
from serve.admission import RETRY_S, Busy
from serve.openapi import answers
from serve.openapi.asking import CONTEXT_HEADERS
from serve.openapi.operation import Content, Operation
from serve.openapi.operations import OPERATIONS
from serve.openapi.schemas import CONTEXT, components, reference
from serve.problems import MEDIA_TYPE, status_for
from serve.problems import document as problem
from serve.service import MAX_TIMEOUT_MS
from toolkit.box import MAX_CONTEXT

__all__ = ["document"]

VERSION = "1.0.0"  # of the interface

_ABOUT = """\
sealpress serves models, refuses what the rules forbid before it runs, and keeps a sealed record of every call.

A request's context comes in headers or in its body; a key may have defaults for it. Whatever is refused or fails is \
told as a problem document (RFC 9457) with a stable `code`; under /v1 and /v2 it carries the protocol's own `error` as \
well. With 503 a journal that cannot be written may be told by further codes, and 500 is a fault of ours; what is \
behind both the log says. A request line and headers of more than 16 kB get 431 `request_head` on any path, what is no \
HTTP 400.
"""
_PATH = {"name": "The name of a model: NAME, NAME@VERSION or an alias.", "version": "The version of its bundle."}
_TAKEN: Mapping[str, dict[str, Any]] = {
    "X-Timeout-Ms": {
        "description": "How long an answer is of use, in milliseconds; a call that would come later is refused.",
        "schema": {"type": "integer", "minimum": 1, "maximum": MAX_TIMEOUT_MS},
    },
    "Content-Encoding": {
        "description": "How the body is packed.",
        "schema": {"type": "string", "enum": ["identity", "gzip", "deflate"]},
    },
    "Accept-Encoding": {
        "description": "How the answer may be packed: gzip or deflate.",
        "schema": {"type": "string"},
    },
    "Inference-Header-Content-Length": {
        "description": "How many bytes of the body are JSON, where bytes of tensors follow.",
        "schema": {"type": "integer", "minimum": 0},
    },
}
_GIVEN: Mapping[str, dict[str, Any]] = {
    "X-Decision-Id": {"description": "The id of the call on record.", "schema": {"type": "string"}},
    "X-Request-Id": {"description": "The same, where OpenAI's clients look for it.", "schema": {"type": "string"}},
    "X-Receipt": {
        "description": "What shows that the call is on record, as URL-safe base64; GET /receipts makes a proof of it.",
        "schema": {"type": "string", "contentEncoding": "base64"},
    },
    "X-Model-Digest": {"description": "Exactly which model was asked.", "schema": {"type": "string"}},
    "X-Attribution": {
        "description": "Whom the licence of the model asks to name, to whoever gets the answer.",
        "schema": {"type": "string"},
    },
    "X-Redacted": {
        "description": "Categories of personal data that were taken out of the input before the model ran.",
        "schema": {"type": "string"},
    },
    "X-Pseudonymised": {
        "description": "Categories of personal data that were replaced by pseudonyms before the model ran.",
        "schema": {"type": "string"},
    },
    "X-Detected": {
        "description": "Categories of personal data that the detector of this box found in the input.",
        "schema": {"type": "string"},
    },
    "X-AI-Notice": {
        "description": "What has to be said to whoever gets the answer (AI Act, Art. 50).",
        "schema": {"type": "string"},
    },
    "X-Accel-Buffering": {
        "description": "no, with a stream: a proxy is asked to hand on each event at once.",
        "schema": {"type": "string"},
    },
    "Inference-Header-Content-Length": {
        "description": "How many bytes of the answer are JSON, where bytes of tensors follow.",
        "schema": {"type": "string"},
    },
    "Content-Encoding": {"description": "How the answer is packed.", "schema": {"type": "string"}},
    "Retry-After": {"description": "In how many seconds to try again.", "schema": {"type": "string"}},
    "WWW-Authenticate": {"description": "That a key is wanted.", "schema": {"type": "string"}},
}
_ON_PROBLEM = {401: ("WWW-Authenticate",), 429: ("Retry-After",), 503: ("Retry-After",)}


@cache
def document() -> dict[str, Any]:
    """The document as JSON has it. It is the same for every box; nothing is to be changed in it."""
    paths: defaultdict[str, dict[str, Any]] = defaultdict(dict)
    for route, operation in OPERATIONS.items():
        method, path = route.split()
        paths[path][method.lower()] = _operation(path, operation)
    return {
        "openapi": "3.1.1",
        "jsonSchemaDialect": "https://spec.openapis.org/oas/3.1/dialect/base",
        "info": {
            "title": "sealpress",
            "version": VERSION,
            "summary": "Models behind a gate, every call on record.",
            "description": _ABOUT,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/", "description": "The box that gave this document."}],
        "tags": [{"name": tag} for tag in dict.fromkeys(operation.tag for operation in OPERATIONS.values())],
        "paths": dict(paths),
        "components": {
            "schemas": components(_kinds()),
            "headers": dict(_GIVEN),
            "examples": dict(_examples()),
            "parameters": dict(_parameters()),
            "securitySchemes": {
                "key": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "A key that `sealpress key create` made, or a token of an issuer in the settings.",
                },
                "certificate": {
                    "type": "mutualTLS",
                    "description": "A client certificate that a key is bound to, where the settings name authorities.",
                },
            },
        },
    }


def _kinds() -> Iterable[Any]:
    """Every type of a body."""
    for operation in OPERATIONS.values():
        contents = (*operation.bodies.values(), *operation.answers.values(), operation.unready)
        yield from (content.kind for content in contents if content is not None and content.kind is not None)
    yield from (answers.Problem, answers.OpenAIProblem, answers.OIPProblem)


def _parameters() -> Iterable[tuple[str, dict[str, Any]]]:
    for (name, text), header in zip(CONTEXT.items(), CONTEXT_HEADERS, strict=True):
        schema = {"type": "string", "maxLength": MAX_CONTEXT}
        more = " Several with commas between them." if name == "data" else ""
        yield header, {"name": header, "in": "header", "description": text + more, "schema": schema}
    for header, about in _TAKEN.items():
        yield header, {"name": header, "in": "header", **about}


def _operation(path: str, operation: Operation) -> dict[str, Any]:
    found: dict[str, Any] = {
        "operationId": operation.id,
        "tags": [operation.tag],
        "summary": operation.summary,
        "parameters": [
            *(
                {"name": name, "in": "path", "required": True, "description": _PATH[name], "schema": {"type": "string"}}
                for name in re.findall(r"{(\w+)}", path)
            ),
            *(
                {
                    "name": name,
                    "in": "query",
                    "required": True,
                    "description": one.text,
                    "schema": reference(one.kind),
                    "example": one.example,
                }
                for name, one in operation.query.items()
            ),
            *({"$ref": f"#/components/parameters/{name}"} for name in operation.takes),
        ],
        "responses": _responses(path, operation),
        "security": [{"key": []}, {"certificate": []}] if operation.keyed else [],
    }
    if operation.text:
        found["description"] = operation.text
    if operation.bodies:
        found["requestBody"] = {"required": not operation.optional, "content": _contents(operation.bodies)}
    return found


def _responses(path: str, operation: Operation) -> dict[str, Any]:
    found: dict[str, Any] = {
        "200": {
            "description": operation.says,
            "headers": _headers(operation.gives),
            "content": _contents(operation.answers),
        }
    }
    if operation.unready is not None:
        found["503"] = {"description": "No.", "content": _contents({"application/json": operation.unready})}
    by_status: defaultdict[int, dict[str, type[Fault]]] = defaultdict(dict)
    for code, family in operation.codes.items():
        by_status[status_for(family, code)][code] = family
    for status, codes in sorted(by_status.items()):
        found[str(status)] = _problem(path, status, codes, operation.gives)
    found["500"] = _problem(path, 500, {}, operation.gives)
    return found


def _problem(path: str, status: int, codes: Mapping[str, type[Fault]], gives: Iterable[str]) -> dict[str, Any]:
    protocol, kind = _protocol(path)
    narrow: dict[str, Any] = {"status": {"const": status}}
    if codes and status < 500:
        # at 503 the journal may have more to say
        narrow["code"] = {"enum": [*codes]}
    schema = {"allOf": [reference(kind), {"type": "object", "properties": narrow}]}
    content: dict[str, Any] = {"schema": schema}
    if codes:
        content["examples"] = {code: {"$ref": f"#/components/examples/{protocol}.{code}"} for code in codes}
    told = ", ".join(f"`{code}`" for code in codes) or "A fault of ours; the log says more"
    # what was decided is on record, and the answer says where
    headers = (*_ON_PROBLEM.get(status, ()), *(gives if status == 403 else ()))
    return {
        "description": f"{HTTPStatus(status).phrase}: {told}.",
        "headers": _headers(headers),
        "content": {MEDIA_TYPE: content},
    }


def _protocol(path: str) -> tuple[str, type[answers.Problem]]:
    """A short name for whose error a problem on this path carries, and its type."""
    if path.startswith("/v1/"):
        return "openai", answers.OpenAIProblem
    if path == "/v2" or path.startswith("/v2/"):
        return "oip", answers.OIPProblem
    return "plain", answers.Problem


def _examples() -> Iterable[tuple[str, Any]]:
    """A problem for each code on each kind of path."""
    for route, operation in OPERATIONS.items():
        path = route.split()[1]
        for code, family in operation.codes.items():
            yield f"{_protocol(path)[0]}.{code}", {"value": _example(path, family, code)}


def _example(path: str, family: type[Fault], code: str) -> Any:
    """The problem as the server writes it."""
    said = "What is the case here, in a sentence"
    fault: Fault
    if issubclass(family, Denied):
        against = Finding(rule="purpose.declared", ok=False, reason="The purpose is not one that this box declares.")
        fault = Denied((against,), "", said)
    elif issubclass(family, Busy):
        fault = family(code, said, RETRY_S)
    else:
        fault = family(code, said)
    return msgspec.json.decode(problem(fault, path))


def _contents(contents: Mapping[str, Content]) -> dict[str, Any]:
    return {media: _content(content) for media, content in contents.items()}


def _content(content: Content) -> dict[str, Any]:
    if content.kind is None:
        return {}  # bytes: what JSON Schema says nothing of (OpenAPI 3.1, 4.8.14)
    found: dict[str, Any] = {"schema": reference(content.kind)}
    if content.example is not None:
        found["example"] = content.example
    return found


def _headers(names: Iterable[str]) -> dict[str, Any]:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}
