"""An answer that is written already, and the headers that every answer carries.

Litestar's own Response costs a tenth of a millisecond more.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from litestar.types import Receive, Scope, Send

__all__ = ["SECURE", "Json", "secured"]

Header = tuple[bytes, bytes]

# nothing here is to be guessed at, kept by a cache, framed, or a page; an answer that is one brings a policy of its own
SECURE: tuple[Header, ...] = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
)
_TRANSPORT: Header = (b"strict-transport-security", b"max-age=31536000")
_OWN = {b"cache-control", b"content-security-policy"}


def secured(headers: Iterable[Header], *, https: bool) -> list[Header]:
    """The headers of an answer with those that guard it, as far as it brings none of its own."""
    given = list(headers)
    own = _OWN.intersection(name.lower() for name, _ in given)
    given += SECURE if not own else (header for header in SECURE if header[0] not in own)
    if https:
        given.append(_TRANSPORT)
    return given


class Json:
    """An ASGI application that gives one answer: JSON, unless the headers say otherwise."""

    __slots__ = ("_content", "_headers", "_status")

    def __init__(self, content: bytes, headers: Mapping[str, str] | None = None, status: int = 200) -> None:
        self._content = content
        self._status = status
        named = {"Content-Type": "application/json", **(headers or {}), "Content-Length": str(len(content))}
        self._headers = [(name.lower().encode(), value.encode()) for name, value in named.items()]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": self._status, "headers": self._headers})
        await send({"type": "http.response.body", "body": self._content, "more_body": False})
