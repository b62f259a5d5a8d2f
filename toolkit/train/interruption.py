"""That somebody asked for an end: heard between two steps, so that a checkpoint can be left."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["heard"]


@contextmanager
def heard(then: Callable[[], None] = lambda: None) -> Iterator[Callable[[], bool]]:
    """Whether an interrupt (Ctrl-C) or SIGTERM has come inside the context; `then` is done at the first one. The second
    interrupt ends at once, as ever. Signals come to the main thread alone: in another one nothing is heard."""
    came: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return

    def note(number: int, frame: FrameType | None) -> None:
        if came and number == signal.SIGINT:
            signal.default_int_handler(number, frame)
        came.append(number)
        then()

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(came)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
