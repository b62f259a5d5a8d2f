"""The files of a journal, written at the place where the last whole thing in them ended.

Whatever a failed write left behind is overwritten by the next one, so an error leaves a file as it was.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

__all__ = ["Appended", "last_note"]

# a head with a thousand rules, the signature and what may be torn behind it
_TAIL = 4_000_000
_CHUNK = 1_000_000
_SIGNATURE = "— ".encode()


class Appended:
    """A file that only grows. Not safe for threads."""

    def __init__(self, path: Path) -> None:
        """Raises OSError."""
        self.path = path
        self.descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        self.end = 0  # behind the last whole thing
        self._synced = 0  # how far it is known to be on the disk, where that is doubtful
        self._doubtful = False

    def length(self) -> int:
        return os.fstat(self.descriptor).st_size

    def append(self, data: bytes) -> None:
        """Raises OSError; then the file ends where it ended before."""
        try:
            if os.pwrite(self.descriptor, data, self.end) != len(data):
                raise OSError(28, "the disk is full")
        except OSError:
            with suppress(OSError):
                os.ftruncate(self.descriptor, self.end)
            raise
        self.end += len(data)

    def append_synced(self, data: bytes) -> None:
        """Append, and wait until it is on the disk. Raises OSError; then the file ends where it ended before."""
        end = self.end
        self.append(data)
        try:
            self.sync()
        except OSError:
            self.end = end
            self.doubt(end)
            with suppress(OSError):
                self.cut()
            raise

    def read(self, size: int, offset: int) -> bytes:
        return os.pread(self.descriptor, size, offset)

    def cut(self) -> None:
        """Remove what stands behind the last whole thing. Raises OSError."""
        if self.length() != self.end:
            os.ftruncate(self.descriptor, self.end)

    def sync(self) -> None:
        """Wait until all that is written by now is on the disk. Raises OSError."""
        end = self.end
        if self._doubtful:
            for start in range(self._synced, end, _CHUNK):
                os.pwrite(self.descriptor, self.read(min(_CHUNK, end - start), start), start)
        self._doubtful = True
        os.fdatasync(self.descriptor)
        self._doubtful, self._synced = False, end

    def doubt(self, start: int) -> None:
        """What stands from here on is written again before it is synced.

        A system says once that it could not write, to the process that asked then, and forgets what it has lost.
        """
        self._doubtful, self._synced = True, start

    def close(self) -> None:
        os.close(self.descriptor)


def last_note(descriptor: int) -> tuple[str | None, int]:
    """The last whole note in an open file of notes, and where it ends. Raises OSError, UnicodeDecodeError."""
    start = max(0, os.fstat(descriptor).st_size - _TAIL)
    tail = os.pread(descriptor, _TAIL, start)
    end = len(tail)
    while (end := tail.rfind(b"\n\n", 0, end)) >= 0:
        line = tail.rfind(b"\n", 0, end) + 1
        # an empty line behind a signature ends a note, any other parts a text from its signature
        if tail.startswith(_SIGNATURE, line):
            above = tail.rfind(b"\n\n" + _SIGNATURE, 0, end)  # a witness adds a second signature
            before = tail.rfind(b"\n\n", 0, above + 1)
            note = tail[before + 2 if before >= 0 else 0 : end + 1]
            # a power cut leaves zeros where the beginning of a note did not come to the disk, and the end of it did
            if b"\0" not in note:
                return note.decode(), start + end + 2
    return None, 0
