"""The load, the same for every server: one thread on raw sockets, as cheap as Python allows.

Closed: so many connections, each of which asks again once it has its answer. Open: requests come at random times at a
given rate, whether or not earlier ones were answered, and what they wait counts from the time at which they were due.
"""

from __future__ import annotations

import os
import select
import socket
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from random import Random
from types import TracebackType
from typing import NamedTuple

__all__ = ["TIMEOUT_S", "Answer", "Loaded", "Offered", "Request", "asked", "closed", "offered", "within_ms"]

HOST = "127.0.0.1"
URGENCY = -10  # the niceness of the load: a client on another machine would not wait for a core of this one
TIMEOUT_S = 5.0  # how long a client stays

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


class Loaded(NamedTuple):
    """What a closed loop saw: answers a second, how many by kind and status, and what each took."""

    per_s: float
    statuses: Counter[tuple[str, int]]
    seconds: list[float]

    @property
    def answered(self) -> int:
        return self.statuses.total()


class Offered(NamedTuple):
    """What an open loop saw: the seconds of answers by status, those with 200 a second as long as the load went on,
    clients that went away after TIMEOUT_S, and by how much later than due each request was sent."""

    seconds: dict[int, list[float]]
    per_s: float
    timeouts: int
    late: list[float]


def within_ms(seconds: list[float], part: float) -> float:
    """The milliseconds within which this part of them were; 0 where there are none."""
    return sorted(seconds)[min(len(seconds) - 1, int(part * len(seconds)))] * 1e3 if seconds else 0.0


def asked(port: int, request: Request, within_s: float = TIMEOUT_S) -> Answer:
    """Ask once on a connection of its own; the status is 0 where there was no answer in time."""
    due = time.perf_counter()
    head = b""
    with suppress(OSError), socket.create_connection((HOST, port), within_s) as connection:
        with suppress(OSError):
            connection.sendall(request.data)  # one that is refused early cannot be sent to its end
        while b"\r\n\r\n" not in head and (more := connection.recv(65_536)):
            head += more
    status = int(head[9:12]) if head.startswith(b"HTTP/1.1 ") else 0
    return Answer(request, status, head.partition(b"\r\n\r\n")[0].lower(), time.perf_counter() - due)


def closed(
    port: int,
    requests: Iterator[Request],
    connections: int,
    seconds: float,
    told: Callable[[Answer], None] = lambda _: None,
) -> Loaded:
    """Load a server over a fixed number of connections; `told` hears of every answer."""
    statuses: Counter[tuple[str, int]] = Counter()
    taken: list[float] = []
    with _urgent(), _Pool(port) as pool:
        began = time.perf_counter()
        until = began + seconds
        for _ in range(connections):
            pool.ask(next(requests), time.perf_counter())
        while pool.busy and time.perf_counter() < until + TIMEOUT_S:
            for answer in pool.answers(1.0):
                statuses[answer.request.kind, answer.status] += 1
                taken.append(answer.seconds)
                told(answer)
                if (now := time.perf_counter()) < until:
                    pool.ask(next(requests), now)
        return Loaded(len(taken) / (time.perf_counter() - began), statuses, taken)


def offered(
    port: int,
    requests: Iterator[Request],
    rate: float,
    seconds: float,
    told: Callable[[Answer], None] = lambda _: None,
) -> Offered:
    """Offer a server `rate` requests a second at the times of a Poisson process, each on a connection that nobody uses
    at that time, or on a new one."""
    random = Random(1)  # noqa: S311 - the same each time
    answers: dict[int, list[float]] = {}
    late: list[float] = []
    in_time = timeouts = 0
    waiting: deque[tuple[float, _Connection]] = deque()  # what is due when, the oldest first
    with _urgent(), _Pool(port) as pool:
        due = time.perf_counter()
        until = due + seconds
        while due < until or waiting:
            now = time.perf_counter()
            while due <= now and due < until:
                waiting.append((due, pool.ask(next(requests), due)))
                late.append(time.perf_counter() - due)
                due += random.expovariate(rate)
            while waiting:
                at, connection = waiting[0]
                answered = not connection.busy or connection.due != at
                if not answered and now < at + TIMEOUT_S:
                    break
                waiting.popleft()
                if not answered:
                    timeouts += 1
                    pool.drop(connection)
            soonest = [waiting[0][0] + TIMEOUT_S] if waiting else []
            soonest += [due] if due < until else []
            for answer in pool.answers(max(0.0, min(soonest, default=now) - time.perf_counter())):
                answers.setdefault(answer.status, []).append(answer.seconds)
                in_time += answer.status == 200 and time.perf_counter() < until
                told(answer)
    return Offered(answers, in_time / seconds, timeouts, late)


class _Connection:
    """One request at a time."""

    def __init__(self, port: int) -> None:
        self.socket = socket.socket()
        self.socket.setblocking(False)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with suppress(BlockingIOError):
            self.socket.connect((HOST, port))
        self.busy = False
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


class _Pool:
    """Connections to one server; those that wait for no answer are used again."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._poll = select.epoll()
        self._all: dict[int, _Connection] = {}
        self._idle: list[_Connection] = []

    def __enter__(self) -> _Pool:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for connection in self._all.values():
            connection.socket.close()
        self._poll.close()

    @property
    def busy(self) -> int:
        """Requests without an answer."""
        return len(self._all) - len(self._idle)

    def ask(self, request: Request, due: float) -> _Connection:
        """Raises OSError where the server takes no connection."""
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
        connection = _Connection(self._port)
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
                connection.busy = False
                self._idle.append(connection)
                if b"\r\nconnection: close" in answer.head:
                    self.drop(connection)
            if answer is not None:
                yield answer

    def drop(self, connection: _Connection) -> None:
        """Hang up."""
        connection.busy = False
        if connection in self._idle:
            self._idle.remove(connection)
        del self._all[connection.socket.fileno()]
        connection.socket.close()


@contextmanager
def _urgent() -> Iterator[None]:
    """Where this is permitted, the thread comes before all others."""
    before = os.getpriority(os.PRIO_PROCESS, 0)
    with suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, 0, URGENCY)
    try:
        yield
    finally:
        with suppress(PermissionError):
            os.setpriority(os.PRIO_PROCESS, 0, before)
