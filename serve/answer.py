"""An answer that is written already. Litestar's own Response costs a tenth of a millisecond more."""

from __future__ import annotations

from collections.abc import Mapping

from litestar.types import Receive, Scope, Send

__all__ = ["Json"]


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
