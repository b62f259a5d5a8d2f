"""What a fork and the end of a process mean to the journals that are open."""

from __future__ import annotations

import atexit
import os
from contextlib import ExitStack
from threading import Lock
from typing import Protocol
from weakref import WeakSet

__all__ = ["over_fork"]


class Forked(Protocol):
    """Something that must be whole when the process is copied, and whose copy must not write."""

    def hold_for_fork(self) -> None: ...
    def go_on_in_parent(self) -> None: ...
    def forget_in_child(self) -> None: ...
    def close(self) -> None: ...


_alive: WeakSet[Forked] = WeakSet()
_forking = Lock()
_held: list[Forked] = []


def over_fork(journal: Forked) -> None:
    """Hold this journal over every fork of the process, and close it at the end, as long as somebody holds it."""
    _alive.add(journal)


def _hold() -> None:
    _forking.acquire()
    for journal in list(_alive):
        journal.hold_for_fork()
        _held.append(journal)


def _go_on_in_parent() -> None:
    for journal in _held:
        journal.go_on_in_parent()
    _held.clear()
    _forking.release()


def _forget_in_child() -> None:
    for journal in _alive:
        journal.forget_in_child()
    _held.clear()
    _forking.release()


def _close_all() -> None:
    with ExitStack() as every:
        for journal in list(_alive):
            every.callback(journal.close)


os.register_at_fork(before=_hold, after_in_parent=_go_on_in_parent, after_in_child=_forget_in_child)
atexit.register(_close_all)
