"""One request to the application as a server makes it, for what a client of HTTP does not show: who reads slowly, who
hangs up, and what has gone out by when."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

from tests.serving import Running

__all__ = ["Asking", "until"]


class Asking:
    """POST of a body with the key of the server. `taking` is set as long as the client reads."""

    def __init__(self, server: Running, path: str, body: dict[str, Any], **headers: str) -> None:
        named = {**server.headers, **{name.replace("_", "-"): value for name, value in headers.items()}}
        written = [(name.lower().encode(), value.encode()) for name, value in named.items()]
        self._body = json.dumps(body).encode()
        self._asked = False
        self._left = asyncio.Event()
        self.taking = asyncio.Event()
        self.taking.set()
        self.aborted = False
        self.sent: list[dict[str, Any]] = []
        scope: Any = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST", "scheme": "http",
            "path": path, "raw_path": path.encode(), "root_path": "", "query_string": b"", "client": None,
            "server": ("box", 80), "headers": written,
            "state": {"gone": self._left.is_set, "abort": self._abort},
        }  # fmt: skip
        running: Any = server.app(scope, self._receive, self._send)
        self.task: asyncio.Task[None] = asyncio.create_task(running)

    def hang_up(self) -> None:
        self._left.set()

    @property
    def status(self) -> int:
        return int(self.sent[0]["status"])

    @property
    def headers(self) -> dict[str, str]:
        return {name.decode(): value.decode() for name, value in self.sent[0]["headers"]}

    @property
    def text(self) -> str:
        return b"".join(one.get("body", b"") for one in self.sent).decode()

    @property
    def events(self) -> list[Any]:
        """What came as events, the last one as a text where it is the end of all."""
        found = [line.removeprefix("data: ") for line in self.text.split("\n\n") if line]
        return [one if one == "[DONE]" else json.loads(one) for one in found]

    def _abort(self) -> None:
        self.aborted = True

    async def _receive(self) -> Any:
        if not self._asked:
            self._asked = True
            return {"type": "http.request", "body": self._body, "more_body": False}
        await self._left.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Any) -> None:
        await self.taking.wait()
        if not self._left.is_set():
            self.sent.append(message)


async def until(condition: Callable[[], bool], within_s: float = 20) -> None:
    """Wait until it holds."""
    async with asyncio.timeout(within_s):
        while not condition():
            await asyncio.sleep(0.002)
