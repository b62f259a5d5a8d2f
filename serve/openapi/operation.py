"""One route as the document describes it, and the codes that kinds of routes refuse by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from msgspec import Struct

from compliance.issuer.errors import JwksError, JwtError
from compliance.journal.errors import NotReadable
from compliance.state.api_keys import ApiKeyError
from compliance.state.grants.errors import GrantError
from policies.errors import Denied, Fault
from policies.payload import InputError
from serve.admission import Busy
from serve.caller import ScopeError
from serve.problems import RequestError
from serve.queue import Abandoned
from toolkit.generating import GenerationStopped
from toolkit.models import Unserved
from toolkit.runtime.sampling import GenerationError

__all__ = [
    "ASKED",
    "CHANGING",
    "GENERATING",
    "KEYED",
    "NAMED",
    "OIP",
    "OPENAI",
    "READ",
    "RECEIPTS",
    "TENSORS",
    "Content",
    "Operation",
    "Query",
]

Codes = Mapping[str, type[Fault]]


class Content(Struct, frozen=True, kw_only=True):
    """A body: its type, None for bytes or text, and an example of it."""

    kind: Any = None
    example: Any = None


class Query(Struct, frozen=True, kw_only=True):
    """A parameter behind the path."""

    text: str
    kind: Any
    example: Any


class Operation(Struct, frozen=True, kw_only=True):
    """What a route does, what it takes and gives, and by which codes it refuses.

    `takes` and `gives` are names of headers that the document describes, `bodies` and `answers` contents by media type;
    `unready` is what a probe answers with 503. `keyed`: it needs a key.
    """

    id: str
    tag: Literal["Health", "OpenAI", "Predict", "Open Inference Protocol", "Repository", "Receipts", "Documentation"]
    summary: str
    text: str = ""
    keyed: bool = True
    query: Mapping[str, Query] = {}
    takes: tuple[str, ...] = ()
    bodies: Mapping[str, Content] = {}
    optional: bool = False  # the body
    says: str = "Done."
    answers: Mapping[str, Content] = {}
    gives: tuple[str, ...] = ()
    unready: Content | None = None
    codes: Codes = {}


def _of(family: type[Fault], *codes: str) -> dict[str, type[Fault]]:
    """These codes of a family, or all."""
    return dict.fromkeys(codes or family.hints, family)


# what every route that needs a key may refuse by
KEYED: Codes = {
    **_of(
        ApiKeyError,
        "api_key_missing",
        "api_key_unknown",
        "api_key_expired",
        "api_key_revoked",
        "api_key_bound",
        "api_key_certificate",
    ),
    **_of(JwtError),
    **_of(JwksError),
    **_of(Busy, "rate_exceeded", "concurrency_exceeded", "callers_exceeded"),
    **_of(RequestError, "request_header"),
}
# with a body
READ: Codes = {
    **_of(RequestError, "request_malformed", "request_type", "request_too_large", "request_incomplete"),
    **_of(Busy, "bodies_full"),
}
# with the name of a model
NAMED: Codes = {**_of(RequestError, "route_unknown"), **_of(Unserved), **_of(ScopeError, "scope_model")}
# that changes what is served
CHANGING: Codes = {**READ, **NAMED, **_of(ScopeError, "scope_admin")}
# with a question to a model
ASKED: Codes = {
    **READ,
    **_of(RequestError, "request_encoding", "request_context"),
    **_of(ScopeError, "scope_model", "scope_purpose", "scope_region"),
    **_of(Unserved),
    **_of(InputError),
    **_of(Denied),
    **_of(Busy, "queue_full", "deadline_short", "deadline_exceeded"),
    **_of(Abandoned),
    **_of(GrantError, "usage_grant_lease"),
}
OPENAI: Codes = _of(RequestError, "request_tokens", "request_dimensions", "request_task")
GENERATING: Codes = {
    **_of(RequestError, "request_tokens", "request_task", "request_chat", "request_unsupported"),
    **_of(GenerationError),
    **_of(GenerationStopped),
    **_of(Busy, "tokens_exceeded", "tokens_full"),
}
TENSORS: Codes = _of(RequestError, "tensor_input")
OIP: Codes = {**TENSORS, **_of(RequestError, "tensor_binary", "tensor_output")}
RECEIPTS: Codes = {**_of(RequestError, "request_malformed", "request_type"), **_of(NotReadable, "record_unsigned")}
