"""Ask an authority for a token of time over HTTP (RFC 3161 section 3.4)."""

from __future__ import annotations

import socket
from contextlib import closing, suppress
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from threading import Timer
from urllib.parse import urlsplit

from compliance.timestamps import MAX_RESPONSE, TimestampError

__all__ = ["asked"]

TIMEOUT_S = 30.0
_QUERY = {"Content-Type": "application/timestamp-query"}


def asked(url: str, request: bytes) -> bytes:
    """What the authority at this address (https://, or http:// where it is said) answers, at most 128 KB in 30 s. No
    redirect is followed and no proxy asked. Raises TimestampError: timestamp_unreachable."""
    try:
        status, content = _posted(url, request)
    except (OSError, HTTPException, ValueError) as error:
        raise TimestampError("timestamp_unreachable", f"{url[:200]!r}: {type(error).__name__}") from None
    if status != HTTPStatus.OK:
        raise TimestampError("timestamp_unreachable", f"{url[:200]!r} answered with status {status}")
    return content


def _posted(url: str, request: bytes) -> tuple[int, bytes]:
    parts = urlsplit(url)
    kind = {"http": HTTPConnection, "https": HTTPSConnection}.get(parts.scheme)
    if kind is None or not parts.hostname or parts.fragment or "@" in parts.netloc:
        raise ValueError("no address of an authority")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    connection = kind(parts.hostname, parts.port, timeout=TIMEOUT_S)
    with closing(connection):
        connection.connect()
        # the timeout is for each byte; this one is for all of them
        timer = Timer(TIMEOUT_S, _hang_up, (connection.sock,))
        timer.start()
        try:
            connection.request("POST", path, request, _QUERY)
            answer = connection.getresponse()
            content = answer.read(MAX_RESPONSE + 1)
        finally:
            timer.cancel()
    if len(content) > MAX_RESPONSE:
        raise ValueError("too large")
    return answer.status, content


def _hang_up(connected: socket.socket) -> None:
    with suppress(OSError):
        connected.shutdown(socket.SHUT_RDWR)
