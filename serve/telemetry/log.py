"""Lines of JSON on standard error, written by a thread of their own some milliseconds at a time.

Who does not read them must not stop the server, so what is not taken in time is dropped, and that is said.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from threading import Event, Thread
from typing import Any, Final

import msgspec

from policies.errors import Fault
from serve.telemetry.trace import where

__all__ = ["Log"]

FLUSH_S = 0.05  # a write for each line would cost more than the rest of it
CLOSE_S = 1.0
MOST_LINES = 10_000
# of several processes on one pipe, a write of at most so many bytes stays whole (PIPE_BUF of pipe(7))
WHOLE = 4_096
STDERR: Final = 2


class Log:
    """`worker` is the number of this process where there are several. Safe for threads; `close` it."""

    def __init__(self, worker: int | None = None) -> None:
        self._every: dict[str, Any] = {} if worker is None else {"worker": worker}
        self._lines: deque[bytes] = deque()
        self._dropped = 0
        self._written = Event()
        self._stop = Event()
        self._thread = Thread(target=self._run, name="log", daemon=True)
        self._thread.start()

    def add(self, line: dict[str, Any]) -> None:
        """A line about a request, with the time in it."""
        if len(self._lines) >= MOST_LINES:
            self._dropped += 1
            return
        self._lines.append(msgspec.json.encode({"at": round(time.time(), 3), **self._every, **line}))
        if not self._written.is_set():
            self._written.set()

    def failed(self, fault: Fault) -> None:
        """A line on something that went wrong beside the requests."""
        self.add({"code": fault.code, "reason": str(fault)})

    def take_over(self) -> None:
        """From now on, what the program and its libraries say by `logging` comes here, instead of as bare text.

        Only a message of our own is told: one of a library may quote what a client sent.
        """
        root = logging.getLogger()
        root.handlers[:] = [_Lines(self)]

    def close(self) -> None:
        """Write what is there, as far as somebody takes it within a second."""
        self._stop.set()
        self._written.set()
        self._thread.join(CLOSE_S)

    def _run(self) -> None:
        while not self._stop.is_set() or self._lines:
            self._written.wait()
            self._stop.wait(FLUSH_S)
            self._written.clear()
            for whole in _joined(self._taken()):
                _write(whole)

    def _taken(self) -> Iterator[bytes]:
        while self._lines:
            yield self._lines.popleft()
        if self._dropped:
            dropped, self._dropped = self._dropped, 0
            yield msgspec.json.encode({"at": round(time.time(), 3), **self._every, "dropped_lines": dropped})


class _Lines(logging.Handler):
    """From `logging` to the log."""

    def __init__(self, log: Log) -> None:
        super().__init__(logging.WARNING)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        said = {"logger": record.name, "level": record.levelname.lower()}
        if record.name == "sealpress":
            said["reason"] = record.getMessage()
        elif error is not None:
            said["reason"] = where(error)
        self._log.add(said)


def _joined(lines: Iterable[bytes]) -> Iterator[bytes]:
    """As many lines at once as stay whole."""
    whole = b""
    for line in lines:
        if whole and len(whole) + len(line) >= WHOLE:
            yield whole
            whole = b""
        whole += line + b"\n"
    if whole:
        yield whole


def _write(whole: bytes) -> None:
    if sys.stderr is None:
        return  # closed from the start: by now it may be another file
    with suppress(OSError):
        while whole:
            whole = whole[os.write(STDERR, whole) :]
