"""Ask an authority for a token of time over HTTP (RFC 3161 section 3.4)."""

from __future__ import annotations

from http import HTTPStatus
from http.client import HTTPException

from compliance.timestamps import MAX_RESPONSE, TimestampError
from toolkit.posting import posted

__all__ = ["asked"]

TIMEOUT_S = 30.0
_QUERY = "application/timestamp-query"


def asked(url: str, request: bytes) -> bytes:
    """What the authority at this address (https://, or http:// where it is said) answers, at most 128 KB in 30 s. No
    redirect is followed and no proxy asked. Raises TimestampError: timestamp_unreachable."""
    try:
        status, content = posted(url, request, _QUERY, most=MAX_RESPONSE, timeout_s=TIMEOUT_S)
    except (OSError, HTTPException, ValueError) as error:
        raise TimestampError("timestamp_unreachable", f"{url[:200]!r}: {type(error).__name__}") from None
    if status != HTTPStatus.OK:
        raise TimestampError("timestamp_unreachable", f"{url[:200]!r} answered with status {status}")
    return content
