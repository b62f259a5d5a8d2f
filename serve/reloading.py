"""Take a changed policy while the server runs: as a whole, or not at all."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from policies.errors import Fault
from toolkit.box import Box
from toolkit.proof import NAME
from toolkit.settings import read_settings

__all__ = ["Reloading"]

LOOK_S = 1.0


class Reloading:
    """Looks once a second whether the settings, a file that they name for the policy, or its proof was written."""

    def __init__(self, box: Box, refused: Callable[[Fault], None]) -> None:
        self._box = box
        self._refused = refused
        self._named = box.settings.policy
        self._seen = self._written()

    async def upkeep(self) -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            await asyncio.to_thread(self.look)

    def look(self) -> None:
        """Where a file was written, try the new policy; one that is refused is told of, and the old one stays."""
        written = self._written()
        if written == self._seen:
            return
        try:
            # also where what they name is refused: it may be mended there
            self._named = read_settings(self._box.path).policy
            self._box.reload()
        except Fault as fault:
            self._refused(fault)
        self._seen = self._written()

    def _written(self) -> dict[Path, tuple[int, int, int] | None]:
        names = (*self._named.rules, *self._named.cases, *self._named.claims, NAME)
        return {path: _stamp(path) for path in (self._box.path, *(self._box.folder / name for name in names))}


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
