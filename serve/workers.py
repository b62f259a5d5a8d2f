"""Several processes that serve on one port: each with models, lanes and a shard of the journal of its own.

The kernel spreads connections over their sockets. The parent holds these sockets open, so that what waits in the one of
a process that died is answered by the process that takes its place.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from queue import SimpleQueue
from threading import Thread

import msgspec
from msgspec import Struct

from policies.errors import Failed
from serve.buckets import make
from serve.process import DRAIN_S, Share
from serve.telemetry.metrics import FOLDER, forget, shared_folder

__all__ = ["Told", "supervise"]

# a process that ends again and again this soon after its start is not started any more
SOON_S = 10.0
MOST_RESTARTS = 5


class Told(Struct, frozen=True):
    """What a worker is told: which one it is, and the descriptors of its socket, of the memory in which all workers
    keep count of callers, and of the pipe on which it says that it serves."""

    number: int
    taken: int
    buckets: int
    pipe: int

    @classmethod
    def parsed(cls, text: str) -> Told:
        return cls(*map(int, text.split(":")))

    def listening(self) -> socket.socket:
        return socket.socket(fileno=self.taken)

    def share(self, workers: int) -> Share:
        return Share(self.number, workers, self.buckets)

    def follow(self) -> None:
        """End in order when the parent is gone: nobody could tell this process to, or start it again."""

        def wait() -> None:
            while os.read(sys.stdin.fileno(), 1):
                pass
            os.kill(os.getpid(), signal.SIGTERM)

        Thread(target=wait, name="parent", daemon=True).start()

    def ready(self, models: Mapping[str, str]) -> None:
        with suppress(BrokenPipeError), os.fdopen(self.pipe, "wb") as pipe:
            # for one that takes the place of another nobody listens any more
            pipe.write(msgspec.json.encode(models))

    def __str__(self) -> str:
        return f"{self.number}:{self.taken}:{self.buckets}:{self.pipe}"


class _Worker:
    """One process. `number` tells it from the others; its socket outlives it, and what it counted in `folder`."""

    def __init__(
        self, number: int, command: Sequence[str], listening: socket.socket, buckets: int, folder: str
    ) -> None:
        self.number = number
        self._command = command
        self._listening = listening
        self._buckets = buckets
        self._folder = folder
        self.restarts = 0
        self.started = 0.0
        self.process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        reading, writing = os.pipe()
        try:
            told = Told(self.number, self._listening.fileno(), self._buckets, writing)
            process = subprocess.Popen(  # noqa: S603 - our own command again
                [*self._command, "--worker", str(told)],
                pass_fds=(told.taken, told.buckets, told.pipe),
                stdin=subprocess.PIPE,  # which ends with this process, however it does
                env={**os.environ, FOLDER: self._folder},
            )
        finally:
            os.close(writing)
        self._ready = reading
        self.started = time.monotonic()
        return process

    def wait_ready(self) -> bytes:
        """What the process says once it serves; empty when it ended before."""
        with os.fdopen(self._ready, "rb") as told:
            return told.read()

    def restart(self) -> None:
        """Raises Failed for one that ends again and again."""
        soon = time.monotonic() - self.started < SOON_S
        self.restarts = self.restarts + 1 if soon else 0
        if self.restarts > MOST_RESTARTS:
            raise Failed("internal", f"a process that serves ended {self.restarts} times in a row")
        if self.process.stdin is not None:
            self.process.stdin.close()
        forget(self.number, self._folder)
        self.process = self._start()
        os.close(self._ready)


def supervise(command: Sequence[str], sockets: Sequence[socket.socket], ready: Callable[[dict[str, str]], None]) -> int:
    """Keep one process a socket running until SIGTERM or SIGINT; SIGHUP goes on to each. Returns the exit status.

    `command` is what each of them is, but for --worker. `ready` hears the names of the models, and
    how long it took the first process to open each, when all serve.
    """
    events: SimpleQueue[int] = SimpleQueue()
    for one in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD):
        signal.signal(one, lambda caught, _: events.put(caught))
    workers: list[_Worker] = []
    buckets = make(len(sockets))
    with shared_folder() as folder:
        try:
            said = b""
            for number, listening in enumerate(sockets):
                # one after the other: what the first one measures, the others find
                workers.append(_Worker(number, command, listening, buckets, folder))
                told = workers[-1].wait_ready()
                if not told:
                    return workers[-1].process.wait()
                said = said or told
            ready(msgspec.json.decode(said, type=dict[str, str]))
            while True:
                caught = events.get()
                if caught in (signal.SIGTERM, signal.SIGINT):
                    return _ended(workers)
                for worker in workers:
                    if caught == signal.SIGHUP:
                        worker.process.send_signal(signal.SIGHUP)
                    elif worker.process.poll() is not None:
                        worker.restart()
        finally:
            _ended(workers)
            os.close(buckets)


def _ended(workers: Sequence[_Worker]) -> int:
    """End all, each with the time to finish what is inside it. The worst of their statuses."""
    for worker in workers:
        if worker.process.poll() is None:
            worker.process.send_signal(signal.SIGTERM)
    until = time.monotonic() + DRAIN_S + 5
    for worker in workers:
        try:
            worker.process.wait(max(0.1, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            worker.process.kill()
            worker.process.wait()
    return max((abs(worker.process.returncode) for worker in workers), default=0)
