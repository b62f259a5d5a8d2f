"""A disk whose power is cut: it forgets what was not synced, or keeps a part of it, in any order."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from threading import RLock
from typing import Any

import pytest

Write = tuple[int, bytes]  # at this offset


class PowerCut(Exception):
    """From here on no call to the system does anything."""


@dataclass
class _File:
    """What is on the disk, and what was done since: writes, and truncations to a size."""

    durable: bytes = b""
    pending: list[Write | int] = field(default_factory=list)

    def left(self, chance: Random | None) -> bytes:
        return _done(self.durable, list(_some(self.pending, chance)) if chance else [])


class UnsafeDisk:
    """Stands in for the calls by which a journal changes the files right below `folder`, and counts them.

    At the call `cut_at` the power goes; at the call `broken_at`, when it is a sync, the disk reports an error and loses
    what it was to sync. Syncing costs nothing.
    """

    def __init__(self, folder: Path, *, cut_at: int = 0, broken_at: int = 0) -> None:
        self.folder = folder
        self.calls = 0
        self.off = False
        self._cut_at = cut_at
        self._broken_at = broken_at
        self._lock = RLock()
        self._names = {path.name for path in folder.iterdir()}
        self._made: list[str] = []  # names that no sync of the folder made last yet
        self._files = {name: _File((folder / name).read_bytes()) for name in self._names}

    @contextmanager
    def in_place(self) -> Iterator[None]:
        with pytest.MonkeyPatch.context() as patch:
            for name in ("open", "pwrite", "ftruncate", "fdatasync", "fsync"):
                patch.setattr(os, name, self._standing_in(getattr(self, f"_{name}"), getattr(os, name)))
            yield

    def left(self, chance: Random | None) -> dict[str, bytes]:
        """What the disk may hold after a power cut: what was synced, and of all else what chance has it."""
        names = {*self._names, *self._made[: chance.randint(0, len(self._made))]} if chance else self._names
        return {name: self._files[name].left(chance) for name in names}

    def after_a_kill(self, cut_at: int) -> UnsafeDisk:
        """The disk as the next process finds it when only this one went: with all that was written, synced or not."""
        put(self.folder, {name: _done(file.durable, file.pending) for name, file in self._files.items()})
        disk = UnsafeDisk(self.folder, cut_at=cut_at)
        disk._names, disk._made = set(self._names), list(self._made)
        disk._files = {name: _File(file.durable, list(file.pending)) for name, file in self._files.items()}
        return disk

    def _standing_in(self, stand_in: Callable[..., Any], real: Callable[..., Any]) -> Callable[..., Any]:
        def call(target: Any, *arguments: Any, **named: Any) -> Any:
            path = Path(f"/proc/self/fd/{target}").readlink() if isinstance(target, int) else Path(target)
            if path.parent != self.folder and path != self.folder:
                return real(target, *arguments, **named)
            with self._lock:
                if self.off:
                    raise PowerCut
                return stand_in(real, path, target, *arguments, **named)

        return call

    def _step(self) -> bool:
        """Count a call that changes something. Returns whether the power goes during it."""
        self.calls += 1
        self.off = self.calls == self._cut_at
        return self.off

    def _open(self, real: Callable[..., int], path: Path, target: Any, flags: int, *mode: int) -> int:
        if flags & os.O_CREAT and path.name not in self._files:
            self._files[path.name] = _File()
            self._made.append(path.name)
            if self._step():
                raise PowerCut
        return real(target, flags, *mode)

    def _pwrite(self, real: Callable[..., int], path: Path, descriptor: int, data: bytes, offset: int) -> int:
        self._files[path.name].pending.append((offset, bytes(data)))
        if self._step():
            raise PowerCut
        return real(descriptor, data, offset)

    def _ftruncate(self, real: Callable[..., None], path: Path, descriptor: int, size: int) -> None:
        self._files[path.name].pending.append(size)
        if self._step():
            raise PowerCut
        real(descriptor, size)

    def _fdatasync(self, real: Callable[..., None], path: Path, descriptor: int) -> None:
        if self._step():
            raise PowerCut
        file = self._files[path.name]
        if self.calls != self._broken_at:
            file.durable = _done(file.durable, file.pending)
        file.pending.clear()
        if self.calls == self._broken_at:
            raise OSError(errno.EIO, "input/output error")

    def _fsync(self, real: Callable[..., None], path: Path, descriptor: int) -> None:
        if path != self.folder:
            self._fdatasync(real, path, descriptor)
            return
        if self._step():
            raise PowerCut
        self._names |= set(self._made)
        self._made.clear()


def put(folder: Path, files: dict[str, bytes]) -> None:
    """Leave these files in a folder, and no others."""
    for path in folder.iterdir():
        path.unlink()
    for name, content in files.items():
        (folder / name).write_bytes(content)


def _done(content: bytes, pending: list[Write | int]) -> bytes:
    data = bytearray(content)
    for step in pending:
        if isinstance(step, int):
            del data[step:]
            continue
        offset, written = step
        data += bytes(max(0, offset - len(data)))
        data[offset : offset + len(written)] = written
    return bytes(data)


def _some(pending: list[Write | int], chance: Random) -> Iterator[Write | int]:
    """A beginning of what was to come, or writes of it in any order, each whole, torn or lost.

    A truncation comes before all that is written after it, and not without what was truncated before.
    """
    if chance.random() < 0.4:
        pending = pending[: chance.randint(0, len(pending))]
        whole = 1.0
    else:
        whole = 0.5
    for step in pending:
        if isinstance(step, int):
            if chance.random() < 0.2:
                return
            yield step
        elif chance.random() < whole:
            yield step
        elif chance.random() < 0.6:
            offset, data = step
            start, end = sorted(chance.randint(0, len(data)) for _ in range(2))
            start, end = chance.choice(((0, end), (start, len(data)), (start, end)))
            yield offset + start, data[start:end]
