"""Take what was changed while the server runs: settings and policy as a whole or not at all, bundles one by one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from policies.errors import Failed, Fault
from toolkit.box import Box
from toolkit.models import Models
from toolkit.proof import NAME
from toolkit.settings import read_settings

__all__ = ["Reloading"]

LOOK_S = 1.0
_Stamp = tuple[int, int, int]  # time of change in ns, size, inode
_Stamps = dict[Path, _Stamp | None]


class Reloading:
    """Looks whether the settings, a file that they name for the policy, its proof, or a bundle was written: once a
    second, and at once when asked."""

    def __init__(self, box: Box, models: Models, refused: Callable[[Fault], None]) -> None:
        self._box = box
        self._models = models
        self._wake = asyncio.Event()
        self._refused = refused
        self._named = box.settings.policy
        # nothing yet: what was written since the box was opened is found at the first look
        self._seen: _Stamps = {}
        self._again = False

    def at_once(self) -> None:
        """Look at everything now, also at what was refused before."""
        self._seen = {}
        self._again = True
        self._wake.set()

    async def upkeep(self) -> None:
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), LOOK_S)
            self._wake.clear()
            await asyncio.to_thread(self.look)

    def look(self) -> None:
        """Where a file was written, try the new policy; one that is refused is told of, and the old one stays. Then the
        bundles."""
        self._look_at_policy()
        again, self._again = self._again, False
        try:
            self._models.refresh(again=again)
        except Fault as fault:
            self._refused(fault)
        except Exception as error:  # noqa: BLE001 - whatever it is, the server goes on with the models it has
            self._refused(Failed("internal", f"the bundles were not looked at: {type(error).__name__}"))

    def _look_at_policy(self) -> None:
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
