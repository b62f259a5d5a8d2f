"""The counter that every process maps, so that one which remembers salts learns at once that rows were destroyed.

It is odd while rows are being destroyed: then nobody relies on what it remembers. A process that dies in between leaves
it odd, which is slow and never wrong, until the next one settles it. Its value means nothing to a process that starts,
so it is never synced. The lock on the same file lets one process at a time destroy rows.
"""

from __future__ import annotations

import fcntl
import mmap
import os
from pathlib import Path

from compliance.state.errors import StateError

__all__ = ["Turn", "create", "settled", "watched"]

SIZE = 8


def create(path: Path) -> None:
    """Raises OSError."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.write(descriptor, bytes(SIZE))
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def watched(path: Path) -> mmap.mmap:
    """The counter as it is at any moment: a slice of it costs a tenth of a microsecond. Raises OSError, StateError."""
    with path.open("rb") as file:
        try:
            return mmap.mmap(file.fileno(), SIZE, access=mmap.ACCESS_READ)
        except ValueError:
            raise StateError("state_broken", f"{path} was cut short") from None


def settled(value: bytes) -> bool:
    return value[-1] % 2 == 0


class Turn:
    """The lock of the one process that destroys rows. Raises OSError; BlockingIOError when it should not wait."""

    def __init__(self, path: Path, *, wait: bool) -> None:
        self._file = os.open(path, os.O_RDWR)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BaseException:
            self.close()
            raise

    def unsettle(self) -> None:
        """From here on nobody relies on what it remembers."""
        self._advance(odd=True)

    def settle(self) -> None:
        """What is looked up from here on may be remembered."""
        self._advance(odd=False)

    def close(self) -> None:
        os.close(self._file)

    def _advance(self, *, odd: bool) -> None:
        value = int.from_bytes(os.pread(self._file, SIZE, 0), "big")
        if value % 2 != odd:
            os.pwrite(self._file, (value + 1).to_bytes(SIZE, "big"), 0)
