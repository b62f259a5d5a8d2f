"""The head of a request: who sends none, or half of one, or too many connections, is hung up on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
import uvicorn
from uvicorn.server import ServerState

from serve import head
from serve.head import BoundedHead

Connect = Callable[[], Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]


async def answering(scope: Any, receive: Any, send: Any) -> None:
    """Tells what the protocol found out about the connection."""
    told = f"{sorted(scope['state'])} {scope['state']['gone']()}".encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(told))]})
    await send({"type": "http.response.body", "body": told})


@asynccontextmanager
async def listening() -> AsyncIterator[Connect]:
    config = uvicorn.Config(answering, http=BoundedHead, lifespan="off", log_config=None)
    config.load()
    state = ServerState()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: BoundedHead(config, state, {}), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        yield lambda: asyncio.open_connection("127.0.0.1", port)
    finally:
        server.close()
        for connection in list(state.connections):
            connection.transport.abort()
        await server.wait_closed()


@pytest.mark.parametrize("over", [False, True])
@pytest.mark.parametrize(
    "template",
    [
        b"GET /%s HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX: %s\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X: a\r\n" * 2_000 + b"X: %s\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: %s\r\n\r\n",
    ],
    ids=["url", "header", "headers", "trailer"],
)
def test_a_head_is_taken_up_to_the_limit_also_in_one_read(template: bytes, over: bool) -> None:
    beside = len(b"GET " + b" HTTP/1.1\r\n" + b"\r\n") + template.startswith(b"POST") * len(b"P" + b"\r\n0\r\n")
    sent = template % (b"a" * (head.MAX_HEAD - len(template % b"") + beside + over))

    async def scenario() -> None:
        async with listening() as connect:
            reader, writer = await connect()
            writer.write(sent)
            assert (await reader.readline()).startswith(b"HTTP/1.1 431 " if over else b"HTTP/1.1 200 ")
            writer.close()

    asyncio.run(scenario())


async def hung_up(reader: asyncio.StreamReader) -> bool:
    with suppress(ConnectionResetError):
        return await asyncio.wait_for(reader.read(), 5) == b""
    return True


@pytest.mark.parametrize(
    "sent", [b"", b"G", b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: ", b"GET / HTTP/1.1\r\nHost: x\r\n"]
)
def test_who_does_not_send_a_whole_head_is_hung_up_on(monkeypatch: pytest.MonkeyPatch, sent: bytes) -> None:
    monkeypatch.setattr(head, "HEAD_S", 0.05)

    async def scenario() -> None:
        async with listening() as connect:
            reader, writer = await connect()
            writer.write(sent)
            assert await hung_up(reader)
            writer.close()

    asyncio.run(scenario())


def test_a_request_that_came_whole_is_answered_and_the_next_may_take_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(head, "HEAD_S", 1.0)

    async def scenario() -> None:
        async with listening() as connect:
            reader, writer = await connect()
            for _ in range(2):
                writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
                await reader.readuntil(b"\r\n\r\n")
                assert b"'gone'" in await reader.readuntil(b"False")
            # half of a third one
            writer.write(b"GET / HT")
            assert await hung_up(reader)
            writer.close()

    asyncio.run(scenario())


def test_connections_beyond_the_limit_are_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(head, "MAX_CONNECTIONS", 2)

    async def scenario() -> None:
        async with listening() as connect:
            first, second = await connect(), await connect()
            await asyncio.sleep(0.05)
            reader, writer = await connect()
            assert await hung_up(reader)
            writer.close()
            for _, kept in (first, second):
                kept.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            for reader, kept in (first, second):
                assert (await reader.readuntil(b"\r\n")).startswith(b"HTTP/1.1 200")
                kept.close()

    asyncio.run(scenario())
