"""One request over HTTP to an address that the settings or a person named, bounded in size and in time."""

from __future__ import annotations

import socket
from contextlib import closing, suppress
from http.client import HTTPConnection, HTTPSConnection
from threading import Timer
from urllib.parse import urlsplit

__all__ = ["posted"]


def posted(url: str, body: bytes, kind: str, *, most: int, timeout_s: float) -> tuple[int, bytes]:
    """The status and the content, of at most `most` bytes, that come for a body of this type within the time. No
    redirect is followed and no proxy asked. Raises OSError, HTTPException; ValueError for another address or a longer
    answer."""
    parts = urlsplit(url)
    connects = {"http": HTTPConnection, "https": HTTPSConnection}.get(parts.scheme)
    if connects is None or not parts.hostname or parts.fragment or "@" in parts.netloc:
        raise ValueError("no address to ask")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    connection = connects(parts.hostname, parts.port, timeout=timeout_s)
    with closing(connection):
        connection.connect()
        # the timeout is for each byte; this one is for all of them
        timer = Timer(timeout_s, _hang_up, (connection.sock,))
        timer.start()
        try:
            connection.request("POST", path, body, {"Content-Type": kind})
            answer = connection.getresponse()
            content = answer.read(most + 1)
        finally:
            timer.cancel()
    if len(content) > most:
        raise ValueError("too large")
    return answer.status, content


def _hang_up(connected: socket.socket) -> None:
    with suppress(OSError):
        connected.shutdown(socket.SHUT_RDWR)
