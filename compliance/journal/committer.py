"""The one thread that makes records last: it syncs them in groups, and signs heads."""

from __future__ import annotations

from collections.abc import Callable
from threading import Event, Lock, Thread, current_thread
from weakref import WeakMethod

from policies.errors import Failed, Fault

__all__ = ["Committer", "Group"]


class Group:
    """Those who wait for one sync. The lock is a turnstile: free once the sync is over."""

    def __init__(self) -> None:
        self._over = Lock()
        self._over.acquire()
        self._error: Fault | None = None

    def done(self, error: Fault | None) -> None:
        self._error = error
        self._over.release()

    def wait(self) -> None:
        """Return when what was written before is synced. Raises the Fault that stood in the way."""
        with self._over:
            pass
        if self._error is not None:
            raise self._error


class Committer:
    """Calls `commit` in its own thread when something was written, `rest` seconds later.

    `commit` is a method, which returns in how many seconds it wants to be called again though nothing is written, or
    None. It is held weakly: a journal that nobody holds any more ends its thread.
    """

    def __init__(self, commit: Callable[[], float | None], rest: float) -> None:
        self._commit = WeakMethod(commit)
        self._rest = rest
        self._group = Group()
        self._written = Event()
        self._stop = Event()
        self._starting = Lock()
        self._thread: Thread | None = None

    def start(self) -> None:
        with self._starting:
            if self._thread is None:
                self._stop.clear()
                self._thread = Thread(target=self._run, name="sealpress journal", daemon=True)
                self._thread.start()

    def written(self) -> Group:
        """There is something to commit: what to wait for. Not to be called while `stop` is."""
        if self._thread is None:
            self.start()
        # taken before it is told: who commits in between has this group, and what was written for it
        group = self._group
        if not self._written.is_set():
            self._written.set()
        return group

    def stop(self) -> None:
        """Commit what is left, then end the thread; `start` begins a new one."""
        with self._starting:
            thread, self._thread = self._thread, None
            if thread is None:
                return
            self._stop.set()
            self._written.set()
            if thread is not current_thread():
                thread.join()

    def _run(self) -> None:
        again: float | None = None
        while not self._stop.is_set() or self._written.is_set():
            self._written.wait(again)
            if self._rest:
                self._stop.wait(self._rest)
            self._written.clear()
            # who finds the new group has written later than what is synced now; who has the old one, before
            group, self._group = self._group, Group()
            commit = self._commit()
            if commit is None:
                return
            try:
                again = commit()
            except Fault as fault:
                group.done(fault)
                again = None
            except Exception as error:  # noqa: BLE001 - the last line of this thread: who waits must not wait forever
                group.done(Failed("internal", f"{type(error).__name__} while records were written"))
                again = None
            else:
                group.done(None)
            del commit
