"""Who asks, and under what: the headers of a request, read once and strictly."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from compliance.state.api_keys import ApiKey, ApiKeyError
from serve.problems import RequestError
from toolkit.box import MAX_CONTEXT, Context

__all__ = ["Presented", "context_of", "presented"]

Presented = tuple[str, dict[str, str]]  # the key, and what the headers say of the context

_CONTEXT = {
    b"x-purpose": "purpose",
    b"x-legal-basis": "basis",
    b"x-consent": "consent",
    b"x-subject": "subject",
    b"x-region": "region",
    b"x-data": "data",
    b"x-override": "override",
}
_BEARER = "bearer "


def presented(headers: Iterable[tuple[bytes, bytes]]) -> Presented:
    """The key and the context that a request brings.

    Raises ApiKeyError: api_key_missing. RequestError: request_header for a header of ours that comes twice, is too
    long or no UTF-8: which one of two would count, a proxy before us might see otherwise.
    """
    key = ""
    given: dict[str, str] = {}
    for name, value in headers:
        if name == b"authorization":
            if key:
                raise RequestError("request_header", "the header Authorization is there twice")
            key = _key(value)
        elif name in _CONTEXT:
            field = _CONTEXT[name]
            if field in given:
                raise RequestError("request_header", f"the header {name.decode()} is there twice")
            given[field] = _text(name, value)
    if not key:
        raise ApiKeyError("api_key_missing", "the request brings no key")
    return key, given


def context_of(key: ApiKey, given: dict[str, str]) -> Context:
    """The context of a call: the key is its actor, and what the headers do not say the key may."""
    said: dict[str, Any] = {"purpose": key.purpose, "basis": key.basis, **given}
    declared = [category.strip() for category in said.pop("data", "").split(",")]
    return Context(actor=key.id, data=frozenset(filter(None, declared)), **said)


def _key(value: bytes) -> str:
    text = value.decode("latin-1")
    return text[len(_BEARER) :].strip() if text.lower().startswith(_BEARER) else ""


def _text(name: bytes, value: bytes) -> str:
    try:
        text = value.decode()
    except UnicodeDecodeError:
        raise RequestError("request_header", f"the header {name.decode()} is no UTF-8") from None
    if len(text) > MAX_CONTEXT:
        raise RequestError("request_header", f"the header {name.decode()} has more than {MAX_CONTEXT} characters")
    return text
