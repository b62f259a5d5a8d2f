"""How prompts begin, kept for those that begin alike: a system text, a talk so far, a document that is asked about.

A prompt is run in parts of one size, and what a whole part left in the cache is kept under the tokens up to its end. A
later prompt with the same tokens takes it over, and runs the parts behind it as it would have anyway: they are the same
runs on the same numbers, so that the answer is the same to the last bit. Prefixes stay within a tenant, and in memory.
A call with a data subject, or with personal data in it, leaves nothing here: there is nothing to forget.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from threading import Lock

import numpy as np

from compliance.crypto import sha256
from policies.facts import Call
from toolkit.runtime.cache import Cache
from toolkit.runtime.slots import Block

__all__ = ["Prefixes", "Shelf"]

LIFE_S = 3600.0  # how long one is kept that nobody asks for


class Prefixes:
    """Of one model. For many threads."""

    def __init__(self, part: int, most: int, clock: Callable[[], float] = time.monotonic) -> None:
        """`part` is the size of the parts, in tokens, `most` how many of them are kept: those that were used last."""
        self.part = part
        self._most = most
        self._clock = clock
        self._lock = Lock()
        self._kept: OrderedDict[bytes, _Kept] = OrderedDict()

    def of(self, call: Call) -> Shelf:
        """What a call may take over, and whether it may leave something."""
        return Shelf(self, call.tenant, keeps=call.subject is None and not call.data and not call.detected)

    def found(self, keys: Sequence[bytes]) -> list[_Kept]:
        """What is kept under the first of these keys, up to one that is not there. None of it may be changed."""
        with self._lock:
            self._let_go()
            found = []
            for key in keys:
                if key not in self._kept:
                    break
                found.append(self._kept[key])
            self._used(keys[: len(found)])
            return found

    def keep(self, keys: Sequence[bytes], blocks: Sequence[Block]) -> None:
        """Keep blocks under the last of these keys; what is kept under those before them was used, too."""
        with self._lock:
            self._let_go()
            if any(key not in self._kept for key in keys[: len(keys) - len(blocks)]):
                return  # without its beginning nobody would find the rest
            for key, block in zip(keys[len(keys) - len(blocks) :], blocks, strict=True):
                self._kept.setdefault(key, _Kept(block))
            self._used(keys)
            while len(self._kept) > self._most:
                self._kept.popitem(last=False)

    def room(self, parts: int) -> int:
        """How many of the first `parts` of a prompt are worth to be kept."""
        return min(parts, self._most)

    def _used(self, keys: Sequence[bytes]) -> None:
        """The end of a long one goes before its beginning, which others may share."""
        until = self._clock() + LIFE_S
        for key in reversed(keys):
            self._kept[key].until = until
            self._kept.move_to_end(key)

    def _let_go(self) -> None:
        now = self._clock()
        while self._kept and next(iter(self._kept.values())).until <= now:
            self._kept.popitem(last=False)


class _Kept:
    """What a part left. It is wiped when nobody holds it any more."""

    def __init__(self, block: Block) -> None:
        self.block = block
        self.until = 0.0

    def __del__(self) -> None:
        for one in self.block:
            one.fill(0)


class Shelf:
    """Prefixes as one call sees them: those of its tenant."""

    def __init__(self, prefixes: Prefixes, tenant: str, *, keeps: bool) -> None:
        self._prefixes = prefixes
        self._tenant = tenant
        self._keeps = keeps
        self._keys: list[bytes] = []
        self._found = 0

    def begin(self, cache: Cache, ids: Sequence[int]) -> int:
        """Put into an empty cache what is kept of how a prompt begins: how many tokens. The last token of a prompt is
        always left to run: its logits are wanted."""
        part = self._prefixes.part
        key = sha256(self._tenant.encode())
        for end in range(part, len(ids), part):
            key = sha256(key + np.array(ids[end - part : end], "<i8").tobytes())
            self._keys.append(key)
        found = self._prefixes.found(self._keys)
        if found:
            cache.write([one.block for one in found])
        self._found = len(found)
        return cache.tokens

    def keep(self, cache: Cache) -> None:
        """Keep what the parts of the prompt left, once all of it was run."""
        part, keys = self._prefixes.part, self._keys[: self._prefixes.room(len(self._keys))]
        if self._keeps and self._found < len(keys):
            spans = [(at * part, (at + 1) * part) for at in range(self._found, len(keys))]
            cache.read(spans, lambda blocks: self._prefixes.keep(keys, blocks))
