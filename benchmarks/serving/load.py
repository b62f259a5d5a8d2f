"""The load, the same for every server.

Closed: so many connections, each of which asks again once it has its answer. Open: requests come at random times at a
given rate, whether or not earlier ones were answered, and what they wait counts from the time at which they were due.
"""

from __future__ import annotations

import socket
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from random import Random
from typing import NamedTuple

from benchmarks.serving.pool import HOST, Answer, Connection, Pool, Request, urgent

__all__ = ["TIMEOUT_S", "Loaded", "Offered", "asked", "closed", "offered", "within_ms"]

TIMEOUT_S = 5.0  # how long a client stays


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
    with urgent(), Pool(port) as pool:
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
    waiting: deque[tuple[float, Connection]] = deque()  # what is due when, the oldest first
    with urgent(), Pool(port) as pool:
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
