"""Bodies: bounded one by one, all together, and in time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from policies.errors import Fault
from serve import body
from serve.body import Bodies

Receive = Callable[[], Awaitable[Any]]


def sent(*parts: bytes, gone: bool = False) -> Receive:
    """What a client sends, part by part; then it is gone, or says nothing more."""
    messages: list[Any] = [{"type": "http.request", "body": part, "more_body": True} for part in parts]
    if gone:
        messages.append({"type": "http.disconnect"})
    elif messages:
        messages[-1]["more_body"] = False
    waiting = iter(messages)

    async def receive() -> Any:
        for message in waiting:
            return message
        return await asyncio.sleep(60)

    return receive


def scope(**headers: str) -> Any:
    return {"headers": [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]}


async def read(bodies: Bodies, receive: Receive, **headers: str) -> bytes:
    async with bodies.read(scope(**headers), receive) as content:
        return content


def code(bodies: Bodies, receive: Receive, **headers: str) -> str:
    with pytest.raises(Fault) as caught:
        asyncio.run(read(bodies, receive, **headers))
    return caught.value.code


def test_a_body_is_put_together() -> None:
    assert asyncio.run(read(Bodies(), sent(b"one", b"", b" body"))) == b"one body"
    assert asyncio.run(read(Bodies(), sent(b""))) == b""


def test_one_that_is_too_large_is_refused_while_it_comes_and_before_where_it_says_so() -> None:
    assert asyncio.run(read(Bodies(each=4), sent(b"1234"))) == b"1234"
    assert code(Bodies(each=4), sent(b"123", b"45", b"never read", gone=True)) == "request_too_large"
    assert code(Bodies(each=4), sent(), content_length="5") == "request_too_large"
    assert code(Bodies(each=4), sent(), content_length="9" * 400) == "request_too_large"
    assert asyncio.run(read(Bodies(each=4), sent(b"12"), content_length="two")) == b"12"


def test_who_goes_away_or_stalls_sent_no_body(monkeypatch: pytest.MonkeyPatch) -> None:
    assert code(Bodies(), sent(b"half", gone=True)) == "request_incomplete"
    monkeypatch.setattr(body, "BODY_S", 0.02)
    assert code(Bodies(), sent()) == "request_incomplete"


def test_all_together_are_bounded_and_what_was_refused_or_answered_counts_no_more() -> None:
    bodies = Bodies(each=10, most=15)

    async def scenario() -> None:
        async with bodies.read(scope(), sent(b"0123456789")):
            with pytest.raises(Fault) as caught:
                await read(bodies, sent(b"012345"))
            assert caught.value.code == "bodies_full"
            assert await read(bodies, sent(b"01234")) == b"01234"
        assert await read(bodies, sent(b"0123456789")) == b"0123456789"

    asyncio.run(scenario())
    assert bodies._held == 0
