"""Take a changed policy while the server runs: as a whole, or not at all."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from policies.errors import Failed, Fault
from toolkit.box import Box
from toolkit.proof import NAME
from toolkit.settings import read_settings

__all__ = ["Reloading"]

LOOK_S = 1.0
_Stamp = tuple[int, int, int]  # time of change in ns, size, inode
_Stamps = dict[Path, _Stamp | None]


class Reloading:
    """Looks once a second whether the settings, a file that they name for the policy, or its proof was written."""

    def __init__(self, box: Box, refused: Callable[[Fault], None]) -> None:
        self._box = box
        self._refused = refused
        self._named = box.settings.policy
        # nothing yet: what was written since the box was opened is found at the first look
        self._seen: _Stamps = {}

    async def upkeep(self) -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            await asyncio.to_thread(self.look)

    def look(self) -> None:
        """Where a file was written, try the new policy; one that is refused is told of, and the old one stays."""
        written = self._written()
        if written == self._seen:
            return
        self._seen = written
        try:
            # also where what they name is refused: it may be mended there
            self._named = read_settings(self._box.path).policy
            # before anything is read: what is written from here on is read the next time
            self._seen = self._written()
            self._box.reload()
        except Fault as fault:
            self._refused(fault)
        except Exception as error:  # noqa: BLE001 - whatever it is, the server goes on under the old policy
            self._refused(Failed("internal", f"the policy was not loaded anew: {type(error).__name__}"))

    def _written(self) -> _Stamps:
        names = (*self._named.rules, *self._named.cases, *self._named.claims, NAME)
        return {path: _stamp(path) for path in (self._box.path, *(self._box.folder / name for name in names))}


def _stamp(path: Path) -> _Stamp | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
