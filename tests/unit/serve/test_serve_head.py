"""The head of a request: who sends none, or half of one, or too many connections, is hung up on."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, closing, suppress
from typing import Any

import pytest
import uvicorn
from uvicorn.server import ServerState

from serve import head
from serve.admission import Busy
from serve.head import BoundedHead
from serve.telemetry import Log, Observed

Connect = Callable[[], Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]


async def answering(scope: Any, receive: Any, send: Any) -> None:
    """Tells what the protocol found out about the connection."""
    told = f"{sorted(scope['state'])} {scope['state']['gone']()}".encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(told))]})
    await send({"type": "http.response.body", "body": told})


@asynccontextmanager
async def listening(busy: Callable[[], Busy | None] | None = None, rest_s: int = 5) -> AsyncIterator[Connect]:
    """`busy` is what the application says of its queues, where it says anything."""
    config = uvicorn.Config(answering, http=BoundedHead, lifespan="off", log_config=None, timeout_keep_alive=rest_s)
    config.load()
    state = ServerState()
    with closing(Log()) as log:
        shared = {} if busy is None else {"observed": Observed(answering, log, busy=busy)}
        async with _listening(lambda: BoundedHead(config, state, shared), state) as connect:
            yield connect


@asynccontextmanager
async def _listening(protocol: Callable[[], BoundedHead], state: ServerState) -> AsyncIterator[Connect]:
    server = await asyncio.get_running_loop().create_server(protocol, "127.0.0.1", 0)
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
    with suppress(ConnectionError):
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


def full() -> Busy:
    return Busy("queue_full", "64 requests wait for this model already", 3)


def asking(path: str, body: bytes = b"{}", *, method: str = "POST", version: str = "1.1", more: str = "") -> bytes:
    return f"{method} {path} HTTP/{version}\r\nHost: x\r\n{more}Content-Length: {len(body)}\r\n\r\n".encode() + body


async def told(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """The head and the body of an answer."""
    answer = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
    return answer, await reader.readexactly(int(answer.lower().partition(b"content-length: ")[2].split(b"\r\n")[0]))


@pytest.mark.parametrize("path", ["/v1/embeddings", "/v1/models/a/predict", "/v2/models/a/infer?x=1"])
def test_where_no_queue_has_a_place_a_request_is_refused_with_its_head(path: str) -> None:
    found = [full(), None, full()]

    async def scenario() -> None:
        async with listening(lambda: found.pop(0)) as connect:
            reader, writer = await connect()
            request = asking(path, b"x" * 100_000)
            writer.write(request[:200])
            answer, content = await told(reader)
            assert answer.startswith(b"HTTP/1.1 503 Service Unavailable\r\n")
            assert b"\r\nretry-after: 3\r\n" in answer
            assert b"connection: close" not in answer
            problem = json.loads(content)
            assert (problem["code"], problem["status"]) == ("queue_full", 503)
            assert "error" in problem  # as the protocol of the path has it
            # what is left of the body is let fall, and the connection is as good as before
            writer.write(request[200:] + asking(path))
            assert (await told(reader))[0].startswith(b"HTTP/1.1 200 ")
            writer.write(asking(path))
            assert (await told(reader))[0].startswith(b"HTTP/1.1 503 ")
            writer.close()
        assert not found

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "request_",
    [
        asking("/v1/models"),
        asking("/v1/embeddings/more"),
        asking("/v2/repository/models/a/unload"),
        asking("/v1/embeddings", b"", method="GET"),
    ],
    ids=["list", "other", "unload", "get"],
)
def test_what_asks_no_model_is_not_refused_for_the_queues(request_: bytes) -> None:
    async def scenario() -> None:
        async with listening(full) as connect:
            reader, writer = await connect()
            writer.write(request_)
            assert (await told(reader))[0].startswith(b"HTTP/1.1 200 ")
            writer.close()

    asyncio.run(scenario())


@pytest.mark.parametrize(("version", "more"), [("1.0", ""), ("1.1", "Connection: close\r\n")])
def test_who_wants_no_more_than_one_answer_is_hung_up_on_behind_it(version: str, more: str) -> None:
    async def scenario() -> None:
        async with listening(full) as connect:
            reader, writer = await connect()
            writer.write(asking("/v1/embeddings", version=version, more=more))
            answer, _ = await told(reader)
            assert b"\r\nconnection: close\r\n" in answer
            assert await hung_up(reader)
            writer.close()

    asyncio.run(scenario())


def test_a_refusal_does_not_overtake_the_answer_before_it() -> None:
    async def scenario() -> None:
        async with listening(full) as connect:
            reader, writer = await connect()
            writer.write(asking("/v1/models") + asking("/v1/embeddings"))
            for _ in range(2):  # the application has the second one, too: it was asked before the first was answered
                assert (await told(reader))[0].startswith(b"HTTP/1.1 200 ")
            writer.close()

    asyncio.run(scenario())


def test_who_was_refused_and_then_rests_or_drips_is_hung_up_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(head, "HEAD_S", 0.2)

    async def scenario() -> None:
        async with listening(full, rest_s=1) as connect:
            (resting, rests), (dripping, drips) = await connect(), await connect()
            rests.write(asking("/v1/embeddings"))
            drips.write(asking("/v1/embeddings", b"x" * 1_000)[:-900])
            await told(resting)
            await told(dripping)
            with suppress(ConnectionError):
                for _ in range(40):
                    drips.write(b"x")
                    await drips.drain()
                    await asyncio.sleep(0.02)
            assert await hung_up(dripping)
            assert await hung_up(resting)
            rests.close()
            drips.close()

    asyncio.run(scenario())
