"""Clients that no server is glad of, one after the other, each on a connection of its own."""

from __future__ import annotations

import gzip
import socket
import struct
from collections import deque
from collections.abc import Callable, Mapping
from itertools import count

from benchmarks.serving.load import HOST, Request, asked
from benchmarks.serving.mix import BUSY

__all__ = ["MISCHIEF", "Mischief"]

SILENT = 16  # connections that are kept open and say nothing
LARGE = 9_000_000
FLOOD = b"X-Flood: x\r\n" * 40_000

# what each may be answered; 0: nobody waits for an answer
MISCHIEF: Mapping[str, frozenset[int]] = {
    name: frozenset({*statuses, BUSY})
    for name, statuses in {
        "goes away": {0},
        "breaks off": {0},
        "half a body": {0},
        "half a head": {0},
        "says nothing": {0},
        "says that it is too large": {413},
        "too large, in chunks": {413},
        "too large, once unpacked": {413},
        "a flood of headers": {431},
        "no HTTP": {400},
    }.items()
}


class Mischief:
    def __init__(self, port: int) -> None:
        self._port = port
        self._turn = count()
        self._silent: deque[socket.socket] = deque()
        self._all: Mapping[str, Callable[[bytes, bytes], int]] = {
            "goes away": lambda head, body: self._leave(head + body),
            "breaks off": lambda head, body: self._leave(head + body, reset=True),
            "half a body": lambda head, body: self._leave(head + body[: len(body) // 2], reset=True),
            "half a head": lambda head, _: self._leave(head[: len(head) // 2]),
            "says nothing": lambda *_: self._stay(),
            "says that it is too large": lambda head, _: self._ask(_sized(head, LARGE)),
            "too large, in chunks": lambda head, _: self._ask(_chunked(head)),
            "too large, once unpacked": lambda head, _: self._ask(_packed(head)),
            "a flood of headers": lambda head, body: self._ask(head[:-2] + FLOOD + b"\r\n" + body),
            "no HTTP": lambda *_: self._ask(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n"),
        }

    def next(self, request: Request) -> tuple[str, int]:
        """The next of them, made of a request that would be answered: what it is called, and the status it got."""
        names = list(self._all)
        name = names[next(self._turn) % len(names)]
        head, end, body = request.data.partition(b"\r\n\r\n")
        return name, self._all[name](head + end, body)

    def close(self) -> None:
        for one in self._silent:
            one.close()

    def _leave(self, data: bytes, *, reset: bool = False) -> int:
        with socket.create_connection((HOST, self._port), 5) as connection:
            connection.sendall(data)
            if reset:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        return 0

    def _stay(self) -> int:
        self._silent.append(socket.create_connection((HOST, self._port), 5))
        if len(self._silent) > SILENT:
            self._silent.popleft().close()
        return 0

    def _ask(self, data: bytes) -> int:
        return asked(self._port, Request(data)).status


def _sized(head: bytes, size: int) -> bytes:
    """The head with another length of the body."""
    before, name, _ = head.partition(b"Content-Length: ")
    return b"%b%b%d\r\n\r\n" % (before, name, size)


def _chunked(head: bytes) -> bytes:
    chunk = b"10000\r\n" + b"a" * 65_536 + b"\r\n"
    before = head.partition(b"Content-Length: ")[0]
    return before + b"Transfer-Encoding: chunked\r\n\r\n" + chunk * (LARGE // 65_536 + 1) + b"0\r\n\r\n"


def _packed(head: bytes) -> bytes:
    packed = gzip.compress(bytes(64_000_000))
    return _sized(head.replace(b"Content-Length", b"Content-Encoding: gzip\r\nContent-Length"), len(packed)) + packed
