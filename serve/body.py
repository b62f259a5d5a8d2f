"""The bodies of requests: each bounded in size and time, and all that are being read or answered bounded together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from litestar.types import Receive, Scope

from serve.admission import RETRY_S, Busy
from serve.problems import RequestError

__all__ = ["MAX_BODY", "Bodies"]

MAX_BODY = 8_000_000
BODY_S = 10.0
# of all requests that are inside, so that many large ones at once cannot take the memory of the others
MAX_ALL = 64_000_000


class Bodies:
    """Belongs to the thread of the event loop."""

    def __init__(self, each: int = MAX_BODY, most: int = MAX_ALL) -> None:
        """At most so many bytes of one, and of all together."""
        self._each = each
        self._most = most
        self._held = 0

    @asynccontextmanager
    async def read(self, scope: Scope, receive: Receive) -> AsyncIterator[bytes]:
        """The body of a request, which counts for as long as the context lasts.

        Raises RequestError: request_too_large, request_incomplete. Busy: bodies_full.
        """
        _announced(scope, self._each)
        parts: list[bytes] = []
        size = 0
        try:
            try:
                async with asyncio.timeout(BODY_S):
                    while True:
                        message = await receive()
                        if message["type"] == "http.disconnect":
                            raise RequestError("request_incomplete", "the body did not arrive")
                        part: bytes = message["body"]  # type: ignore[typeddict-item] # no other message comes here
                        size += len(part)
                        self._held += len(part)
                        if size > self._each:
                            raise RequestError("request_too_large", "the body is too large")
                        if self._held > self._most:
                            raise Busy("bodies_full", "the server holds as much of requests as it can", RETRY_S)
                        parts.append(part)
                        if not message.get("more_body"):
                            break
            except TimeoutError:
                raise RequestError("request_incomplete", "the body did not arrive") from None
            yield b"".join(parts)
        finally:
            self._held -= size


def _announced(scope: Scope, most: int) -> None:
    """Refuse what says by itself that it is too large, before any of it is read."""
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit() and int(value[:12]) > most:
            raise RequestError("request_too_large", "the body is too large")
