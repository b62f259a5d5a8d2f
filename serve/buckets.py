"""A table in memory that the workers of one server share: when each account may ask again, and how many run for it.

The parent makes the memory (`make`), and each worker maps it under a number of its own. What one worker counts, it
counts in a column of its own, so that nothing of a worker that died is left once its successor has taken the number.

An account has a slot in one of many sets of eight, found by a keyed hash, so that nobody can choose names that meet in
one set. One lock (flock(2), which the kernel lifts when its process dies) covers the table for the microseconds in
which a slot is found and written. A slot whose bucket is full and for which nothing runs says the same as a new one,
and is given to the next who needs it: so the table stays as large as it was made.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import struct
from typing import NamedTuple

from compliance.crypto import derive, fresh

__all__ = ["Buckets", "Full", "Slot", "make"]

WAYS = 8
SETS = 512

_HEAD = struct.Struct("<II32s24x")  # sets, workers, key of the hashes
_NAME = 16  # bytes of a hash
_WHEN = struct.Struct("<q")
_COUNT = struct.Struct("<I")


class Full(Exception):
    """Every slot of a set is in use."""


class Slot(NamedTuple):
    """Where an account is found: the hash of its name, and its set."""

    name: bytes
    set: int


def make(workers: int, sets: int = SETS) -> int:
    """The memory for so many workers, as a descriptor that a fork inherits and an exec does not. Raises OSError."""
    descriptor = os.memfd_create("sealpress-buckets")
    os.ftruncate(descriptor, _HEAD.size + sets * WAYS * _width(workers))
    os.pwrite(descriptor, _HEAD.pack(sets, workers, fresh()), 0)
    return descriptor


class Buckets:
    """The table as one worker sees it. For one thread."""

    def __init__(self, descriptor: int, worker: int) -> None:
        """Raises OSError."""
        # opened anew: what a fork inherits shares its locks with the parent
        self._file = os.open(f"/proc/self/fd/{descriptor}", os.O_RDWR | os.O_CLOEXEC)
        self._memory = mmap.mmap(self._file, 0)
        self._sets, workers, self._key = _HEAD.unpack_from(self._memory)
        if not 0 <= worker < workers:
            raise ValueError("there is no such worker")
        self._shared = workers > 1
        self._counts = struct.Struct(f"<{workers}I")
        self._width = _width(workers)
        self._own = _NAME + _WHEN.size + _COUNT.size * worker
        for at in range(_HEAD.size, len(self._memory), self._width):
            _COUNT.pack_into(self._memory, at + self._own, 0)

    def slot(self, account: str) -> Slot:
        name = derive(self._key, b"account", account.encode("utf-8", "surrogatepass"))[:_NAME]
        return Slot(name, int.from_bytes(name[:4], "little") % self._sets)

    def lock(self) -> None:
        """Let no other worker touch the table until `unlock`."""
        if self._shared:
            fcntl.flock(self._file, fcntl.LOCK_EX)

    def unlock(self) -> None:
        if self._shared:
            fcntl.flock(self._file, fcntl.LOCK_UN)

    def find(self, slot: Slot, now: int) -> int:
        """Where the account stands; for who holds the lock. Raises Full."""
        first = _HEAD.size + slot.set * WAYS * self._width
        free = 0
        for at in range(first, first + WAYS * self._width, self._width):
            if self._memory[at : at + _NAME] == slot.name:
                return at
            if not free and self.when(at) <= now and not self.running(at):
                free = at
        if not free:
            raise Full
        self._memory[free : free + _NAME] = slot.name
        self.set_when(free, now)
        return free

    def when(self, at: int) -> int:
        """When the bucket is full again, in nanoseconds of the clock that all workers share."""
        (when,) = _WHEN.unpack_from(self._memory, at + _NAME)
        return int(when)

    def set_when(self, at: int, when: int) -> None:
        _WHEN.pack_into(self._memory, at + _NAME, when)

    def running(self, at: int) -> int:
        """How many run for the account, in all workers."""
        return sum(self._counts.unpack_from(self._memory, at + _NAME + _WHEN.size))

    def count(self, at: int, change: int) -> None:
        """One more or one less that runs here. Only this worker writes this number, so less needs no lock."""
        (now,) = _COUNT.unpack_from(self._memory, at + self._own)
        _COUNT.pack_into(self._memory, at + self._own, now + change)

    def close(self) -> None:
        self._memory.close()
        os.close(self._file)


def _width(workers: int) -> int:
    """Bytes of a slot: a hash, a time, a count for each worker, and as many that the next time is aligned."""
    return _NAME + _WHEN.size + (_COUNT.size * workers + 7) // 8 * 8
