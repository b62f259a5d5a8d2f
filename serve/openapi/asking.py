"""What the routes that are asked have in common: media types, headers, and the model of the examples."""

from __future__ import annotations

from typing import Any

from serve.openapi import schemas
from serve.openapi.operation import Content, Operation

__all__ = ["ASKS", "BINARY", "CONTEXT_HEADERS", "DIGEST", "GIVES", "JSON", "MODEL", "in_json", "probe"]

JSON = "application/json"
BINARY = "application/octet-stream"
CONTEXT_HEADERS = tuple(f"X-{name.replace('_', '-').title()}" for name in schemas.CONTEXT)

ASKS = (*CONTEXT_HEADERS, "X-Timeout-Ms", "Content-Encoding")
GIVES = (
    "X-Decision-Id",
    "X-Request-Id",
    "X-Receipt",
    "X-Model-Digest",
    "X-Attribution",
    "X-AI-Notice",
    "X-Detected",
    "X-Redacted",
    "X-Pseudonymised",
)
DIGEST = "1e00f9fd1dc4ea6ac945a1447c42929eeee89bba644fa70b82290b589ec9cf88"
MODEL = "all-MiniLM-L6-v2-int8"


def in_json(kind: Any, example: Any) -> dict[str, Content]:
    """A body of this type."""
    return {JSON: Content(kind=kind, example=example)}


def probe(id_: str, summary: str, kind: Any, example: Any, unready: Any = None, tag: Any = "Health") -> Operation:
    """A route that says yes, or with `unready` what it is when the answer is no."""
    return Operation(
        id=id_,
        tag=tag,
        summary=summary,
        keyed=False,
        says="Yes.",
        answers=in_json(kind, example),
        unready=None if unready is None else Content(kind=kind, example=unready),
    )
