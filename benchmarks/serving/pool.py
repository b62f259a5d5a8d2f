"""Connections to one server on raw sockets in one thread, as cheap as Python allows."""

from __future__ import annotations

import os
import select
import socket
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import NamedTuple

__all__ = ["HOST", "Answer", "Connection", "Pool", "Request", "urgent"]

HOST = "127.0.0.1"
URGENCY = -10  # the niceness of the load: a client on another machine would not wait for a core of this one
IDLE_S = 2.0  # a connection that rested longer is not used again: the server may be about to close it

_EVENTS = select.EPOLLIN | select.EPOLLRDHUP


class Request(NamedTuple):
    """The bytes that go out, and what they are called in the counts."""

    data: bytes
    kind: str = ""


class Answer(NamedTuple):
    """`status` is 0 where the server hung up before; `head` is in lower case; the seconds are since it was due."""

    request: Request
    status: int
    head: bytes
    seconds: float

    def header(self, name: bytes) -> bytes | None:
        """`name` is in lower case."""
        _, found, rest = self.head.partition(b"\r\n" + name + b": ")
        return rest.partition(b"\r\n")[0] if found else None


class Connection:
    """One request at a time."""

    def __init__(self, port: int) -> None:
        self.socket = socket.socket()
        self.socket.setblocking(False)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with suppress(BlockingIOError):
            self.socket.connect((HOST, port))
        self.busy = False
        self.rests = 0.0  # since when
        self.request = Request(b"")
        self.due = 0.0
        self._unsent = b""
        self._received = bytearray()

    def ask(self, request: Request, due: float) -> None:
        self.busy, self.request, self.due, self._unsent = True, request, due, request.data
        self._received.clear()

    def sent(self) -> bool:
        """Whether all of the request went out by now."""
        with suppress(BlockingIOError):
            self._unsent = self._unsent[self.socket.send(self._unsent) :]
        return not self._unsent

    def answer(self) -> Answer | None:
        """The answer once all of it is there. Raises OSError when the server hung up."""
        with suppress(BlockingIOError):
            data = self.socket.recv(65_536)
            if not data:
                raise ConnectionResetError
            self._received += data
        end = self._received.find(b"\r\n\r\n")
        if end < 0:
            return None
        head = bytes(self._received[:end]).lower()
        place = head.find(b"\r\ncontent-length:")
        if place < 0:
            raise RuntimeError(f"an answer of no stated length: {head!r}")
        if len(self._received) < end + 4 + int(head[place + 17 :].split(b"\r\n", 1)[0]):
            return None
        return Answer(self.request, int(head[9:12]), head, time.perf_counter() - self.due)


class Pool:
    """Connections to one server; those that wait for no answer are used again."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._poll = select.epoll()
        self._all: dict[int, Connection] = {}
        self._idle: deque[Connection] = deque()  # the one that rested the longest first

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for connection in self._all.values():
            connection.socket.close()
        self._poll.close()

    @property
    def busy(self) -> int:
        """Requests without an answer."""
        return len(self._all) - len(self._idle)

    def ask(self, request: Request, due: float) -> Connection:
        """Raises OSError where the server takes no connection."""
        while self._idle and self._idle[0].rests < due - IDLE_S:
            self.drop(self._idle[0])
        while self._idle:
            connection = self._idle.pop()
            connection.ask(request, due)
            try:
                if not connection.sent():
                    self._poll.modify(connection.socket, _EVENTS | select.EPOLLOUT)
            except OSError:
                self.drop(connection)  # the server hung up while it had nothing to do
            else:
                return connection
        connection = Connection(self._port)
        self._all[connection.socket.fileno()] = connection
        connection.ask(request, due)
        self._poll.register(connection.socket, _EVENTS if connection.sent() else _EVENTS | select.EPOLLOUT)
        return connection

    def answers(self, timeout_s: float) -> Iterator[Answer]:
        """What came in, waiting so long at most for the first."""
        for fd, event in self._poll.poll(timeout_s):
            if (connection := self._all.get(fd)) is None:
                continue  # given up since
            answer = None
            try:
                if event & select.EPOLLOUT and connection.sent():
                    self._poll.modify(connection.socket, _EVENTS)
                if event & ~select.EPOLLOUT:
                    answer = connection.answer()
            except OSError:
                if connection.busy:
                    answer = Answer(connection.request, 0, b"", time.perf_counter() - connection.due)
                self.drop(connection)
            else:
                if answer is None:
                    continue
                connection.busy, connection.rests = False, time.perf_counter()
                self._idle.append(connection)
                if b"\r\nconnection: close" in answer.head:
                    self.drop(connection)
            if answer is not None:
                yield answer

    def drop(self, connection: Connection) -> None:
        """Hang up."""
        connection.busy = False
        if connection in self._idle:
            self._idle.remove(connection)
        del self._all[connection.socket.fileno()]
        connection.socket.close()


@contextmanager
def urgent() -> Iterator[None]:
    """Where this is permitted, the thread comes before all others."""
    before = os.getpriority(os.PRIO_PROCESS, 0)
    with suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, 0, URGENCY)
    try:
        yield
    finally:
        with suppress(PermissionError):
            os.setpriority(os.PRIO_PROCESS, 0, before)
