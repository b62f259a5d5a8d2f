"""What an operator changes while a server runs: bundles, keys, and rules of their own. Each change is seen to work."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from itertools import cycle
from pathlib import Path
from typing import Any

from benchmarks.pressed import ROOT
from benchmarks.serving.boxes import BoxFolder
from benchmarks.serving.load import asked
from benchmarks.serving.mischief import Mischief
from benchmarks.serving.mix import Mix, embedding
from benchmarks.serving.pool import Answer

__all__ = ["Changes", "prepare"]

VERSIONS = ("1", "2")
RULES = "rules/own.cedar"
OPENED_AND_CLOSED = ("assistance", "product")
WITHIN_S = 30.0
OVERLAP, OVERLAP_S = "4s", 2.0  # of a key and the one that takes its place

_RULE = """@id("own.closed")
@source("House rule 1")
@reason("The models are not asked for {purpose} for now.")
forbid (principal, action == Action::"infer", resource)
when {{ context has purpose && context.purpose.name == "{purpose}" }};
"""


def prepare(box: BoxFolder) -> None:
    """Two versions of the bundle, a link to one of them, and a file of rules."""
    versions = box.path / "versions"
    one, two = (versions / version for version in VERSIONS)
    versions.mkdir()
    box.bundle.rename(one)
    arguments: list[str | Path] = [box.path / "sealpress.toml", one, two, VERSIONS[1]]
    subprocess.run([sys.executable, "-m", "benchmarks.serving.reissue", *arguments], cwd=ROOT, check=True)
    box.bundle.symlink_to(one)
    (box.path / RULES).parent.mkdir()
    (box.path / RULES).write_text(_RULE.format(purpose=OPENED_AND_CLOSED[0]), "utf-8")
    settings = box.path / "sealpress.toml"
    settings.write_text(settings.read_text("utf-8").replace("rules = []", f'rules = ["{RULES}"]', 1), "utf-8")


class Changes:
    """`made` is the first key, as `sealpress key create` tells of it. Each method may run in a thread of its own; each
    raises when what was changed is not seen in answers soon."""

    def __init__(self, box: BoxFolder, port: int, made: Mapping[str, Any]) -> None:
        self.mix = Mix(made["key"])
        self.done: Counter[str] = Counter()
        self._box = box
        self._port = port
        self._made = made
        self._mischief = Mischief(port)
        self._versions = cycle([*VERSIONS[1:], VERSIONS[0]])
        self._closed = cycle([OPENED_AND_CLOSED, OPENED_AND_CLOSED[::-1]])

    def swap_the_bundle(self) -> None:
        """Another version in the place of the one that is served."""
        target = self._box.path / "versions" / next(self._versions)
        digest = json.loads((target / "manifest.json").read_bytes())["digest"].encode()
        _put(self._box.bundle, lambda path: path.symlink_to(target))
        self._until(self._ask, lambda answer: answer.header(b"x-model-digest") == digest)
        self.done["bundle swaps"] += 1

    def rotate_the_key(self) -> None:
        """A new one in place of the old one, which works on for a moment and then no more."""
        old, self._made = self._made, self._box.command("key", "rotate", self._made["id"], "--overlap", OVERLAP)
        self.mix.use(self._made["key"])
        self._until(lambda: asked(self._port, embedding(old["key"])), lambda answer: answer.status == 401)
        self.done["keys rotated"] += 1

    def replace_the_key(self) -> None:
        """A new one for all clients; then the old one is revoked, and opens nothing from then on."""
        old, self._made = self._made, self._box.command("key", "create")
        self.mix.use(self._made["key"])
        time.sleep(OVERLAP_S)
        self._box.command("key", "revoke", old["id"])
        # where every queue is full, nobody is asked who they are
        while (answer := asked(self._port, embedding(old["key"]))).status == 503:
            time.sleep(0.1)
        if answer.status != 401:
            raise RuntimeError(f"a revoked key is answered with {answer.status}")
        self.done["keys made and revoked"] += 1

    def change_the_rules(self) -> None:
        """Another purpose is closed, and the one that was is open again."""
        closed, opened = next(self._closed)
        _put(self._box.path / RULES, lambda path: path.write_text(_RULE.format(purpose=closed), "utf-8"))
        self._until(lambda: self._ask(closed), lambda answer: answer.status == 403)
        self._until(lambda: self._ask(opened), lambda answer: answer.status == 200)
        self.done["rule changes"] += 1

    def misbehave(self) -> tuple[str, int]:
        """One bad client: what it is called, and the status that it got."""
        self.done["bad clients"] += 1
        return self._mischief.next(embedding(self._made["key"]))

    def close(self) -> None:
        """Hang up where a bad client is still connected."""
        self._mischief.close()

    def _ask(self, purpose: str = "search") -> Answer:
        return asked(self._port, embedding(self._made["key"], purpose))

    def _until(self, ask: Callable[[], Answer], holds: Callable[[Answer], bool]) -> None:
        end = time.monotonic() + WITHIN_S
        while not holds(answer := ask()):
            if time.monotonic() > end:
                raise RuntimeError(f"a change is not seen: {answer.status} {answer.head!r}")
            time.sleep(0.1)


def _put(path: Path, make: Callable[[Path], object]) -> None:
    """Make something beside a path, and put it in its place at once."""
    beside = path.with_name(f".{path.name}.new")
    make(beside)
    beside.rename(path)
