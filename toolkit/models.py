"""The models that a box serves: bundles on disk, those of them in memory, and how one takes the place of another.

What is served is looked up without a lock: a change makes a new table and puts it in place as a whole, so that a call
finds the old model or the new one. Changes themselves come one at a time.
"""

from __future__ import annotations

import re
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from threading import RLock
from typing import ClassVar, Literal

import msgspec
from msgspec import Struct

from compliance.disk import put
from compliance.sealed.errors import SealedError
from policies import licences
from policies.errors import Fault, Unusable
from policies.licences import LicenceError
from toolkit.box import Box
from toolkit.bundle import Bundle, BundleError, BundleManifest, BundleMissing, must_stand
from toolkit.model import Model
from toolkit.plan import planned
from toolkit.runtime.session import ModelError
from toolkit.sealed import must_still_open, opened, told

__all__ = ["Entry", "Models", "State", "Unserved"]

State = Literal["ready", "resting", "unloaded", "refused"]
MAX_NAME = 200
UNFIT = (BundleError, BundleMissing, ModelError, LicenceError, SealedError)  # what is wrong with a bundle itself


class Unserved(Unusable):
    """A model that is not served, or not now."""

    hints: ClassVar[Mapping[str, str]] = {
        "model_unknown": "Take a name from GET /v1/models.",
        "model_unloaded": "Have the operator load the model: POST /v2/repository/models/NAME/load.",
        "model_memory": "Have the operator raise memory_mb under [serve], or press the model smaller.",
        "model_refused": "Have the operator look at the bundle: the log and POST /v2/repository/index hold the reason.",
    }


class Entry:
    """A bundle on disk. `manifest` is None as long as it could not be read; `reason` is the code of why it is refused,
    or why a changed one is not taken while the one from before goes on."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.state: State = "refused"
        self.reason: str | None = None
        self.manifest: BundleManifest | None = None
        self.model: Model | None = None
        self.bytes = 0
        self.used = 0.0  # on the clock of time.monotonic
        self.stamp: tuple[int, int, int] | None = None

    @property
    def known(self) -> BundleManifest:
        """The manifest of a bundle that was read, as every one that has a name was. Raises Unserved."""
        if self.manifest is None:
            raise Unserved("model_refused", f"the bundle is refused ({self.reason})")
        return self.manifest


class _Unloaded(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The file by which the processes of a server tell each other which models were unloaded on purpose."""

    format: Literal[1] = 1
    bundles: frozenset[str] = frozenset()


class Models:
    """Bundles at `places`, each a bundle or a folder of bundles (`*.bundle`, and sealed ones, `*.sealed`).

    `cores` are those that a model may use; `refused` hears of every bundle that is not taken, and `gone`, once it is
    set, of every model that is served no more.
    """

    def __init__(
        self,
        box: Box,
        places: Sequence[Path],
        *,
        cores: int,
        refused: Callable[[Fault], None] = lambda _: None,
    ) -> None:
        self._box = box
        self._places = tuple(places)
        self._cores = cores
        self.gone: Callable[[Model], None] = lambda _: None
        self._refused = refused
        self._lock = RLock()
        self._entries: dict[Path, Entry] = {}
        self._names: dict[str, Entry] = {}
        self._last: Fault | None = None  # that a bundle was refused for

    @property
    def entries(self) -> Mapping[str, Entry]:
        """Everything there is by the name that it is best called by, those that are refused included."""
        best: dict[int, str] = {}
        for name, entry in self._names.items():
            if id(entry) not in best or len(name) < len(best[id(entry)]):
                best[id(entry)] = name
        # copied first: another thread may be adding to it
        return {best.get(id(entry), entry.path.stem): entry for entry in [*self._entries.values()]}

    def servable(self) -> Iterator[Model | None]:
        """What may be asked: each model, None for one that has to be loaded first."""
        # copied first: another thread may be adding to it
        return (entry.model for entry in [*self._entries.values()] if entry.state in ("ready", "resting"))

    def must_serve(self) -> None:
        """Raises why no model is served, when none is: BundleMissing, or what the last bundle was refused for."""
        if not self._names:
            if self._last is not None:
                raise self._last
            places = ", ".join(map(str, self._places))
            raise BundleMissing("bundle_not_found", f"{places}: there is no *.bundle or *.sealed")

    def ready(self) -> list[Model]:
        """The models in memory."""
        return [entry.model for entry in self._entries.values() if entry.model is not None]

    def opened(self) -> dict[str, str]:
        """What is served, by the names of `entries`, and how long it took to open each model in memory, in words."""
        return {
            name: "" if entry.model is None else told(entry.model.seconds, entry.model.unsealed)
            for name, entry in self.entries.items()
        }

    def find(self, name: str, version: str | None = None) -> Entry:
        """What is served under a name, `NAME@VERSION`, or an alias. Its `model` is None while it rests: `wake` it.

        Raises Unserved.
        """
        entry = self._names.get(name if version is None else f"{name}@{version}")
        if entry is None:
            raise Unserved("model_unknown", "no model of this name is served here")
        if entry.state == "unloaded":
            raise Unserved("model_unloaded", "the model was unloaded by the operator")
        entry.used = time.monotonic()
        return entry

    def wake(self, entry: Entry) -> Model:
        """The model of an entry, loaded again where it gave way to others, which takes a moment.

        Raises Unserved, JournalError, StateError.
        """
        with self._lock:
            if entry.model is None:
                if entry.state != "resting":
                    raise Unserved("model_refused", f"the bundle is refused ({entry.reason})")
                try:
                    self._take(entry, opened(entry.path, self._box))
                except UNFIT as fault:
                    entry.reason = fault.code
                    self._refused(fault)
                    raise Unserved("model_refused", f"the bundle is refused ({entry.reason})") from fault
            assert entry.model is not None  # noqa: S101 - _take raises otherwise
            return entry.model

    def load(self, name: str) -> None:
        """Load a model that was unloaded, or look at its bundle again. Raises Unserved, and what loading raises."""
        with self._lock:
            entry = self._entry(name)
            self._put_unloaded(self._unloaded() - {entry.path.name})
            self._look(entry, again=True)
            if entry.model is None:
                raise Unserved("model_refused", f"the bundle is refused ({entry.reason})")

    def unload(self, name: str) -> None:
        """Take a model out of service until it is loaded again; what it runs it finishes. Raises Unserved."""
        with self._lock:
            entry = self._entry(name)
            self._put_unloaded(self._unloaded() | {entry.path.name})
            self._rest(entry, "unloaded", "asked")

    def refresh(self, *, again: bool = False) -> None:
        """See what became of the bundles on disk: take new and changed ones, let removed ones go. With `again` what was
        refused before is looked at, too.

        A bundle that is not taken is refused by itself; where it changed, the one from before goes on.
        """
        with self._lock:
            found = dict.fromkeys(self._found())
            for path in [path for path in self._entries if path not in found]:
                self._rest(self._entries.pop(path), "unloaded", "removed")
            unloaded = self._unloaded()
            for path in found:
                entry = self._entries.setdefault(path, Entry(path))
                if path.name in unloaded:
                    self._rest(entry, "unloaded", "asked")
                else:
                    self._look(entry, again=again)
            self._name()

    def _found(self) -> Iterator[Path]:
        for place in self._places:
            if (place / "manifest.json").exists() or not place.is_dir():
                yield place
            else:
                yield from sorted([*place.glob("*.bundle"), *place.glob("*.sealed")])

    def _look(self, entry: Entry, *, again: bool) -> None:
        """Take what is at the place of an entry, where it is new there, or where nothing was taken before."""
        if entry.model is not None:
            try:
                must_still_open(entry.model.under, self._box)
            except Fault as fault:
                # out of memory, and no call opens it again before this is mended
                self._rest(entry, "resting", "grant")
                entry.reason = fault.code
                self._refused(fault)
        stamp = _stamp(entry.path)
        if stamp == entry.stamp and entry.state != "unloaded" and not (again and entry.reason is not None):
            return
        entry.stamp = stamp
        try:
            bundle = opened(entry.path, self._box)
            model = entry.model
            if model is not None and (model.manifest.digest, model.under) == (bundle.manifest.digest, bundle.under):
                return
            self._take(entry, bundle)
        except Fault as fault:
            entry.reason = fault.code
            if entry.model is None:
                entry.state = "refused"
            self._last = fault
            self._refused(fault)

    def _take(self, entry: Entry, bundle: Bundle) -> None:
        """Load a bundle, and put it in the place of what the entry had.

        Raises LicenceError, ModelError, Unserved, JournalError, StateError.
        """
        if "licence" in self._box.settings.policy.packs:
            licences.facts(bundle.manifest.licence)
            must_stand(bundle.manifest, self._box.journal.now())
        size = len(bundle.model) + len(bundle.tokenizer or b"")
        before = entry.model
        self._make_room(size, entry)
        model = Model(bundle, self._box, planned(bundle, self._box, self._cores), served=True)
        entry.model, entry.manifest, entry.bytes = model, bundle.manifest, size
        entry.state, entry.reason, entry.used = "ready", None, time.monotonic()
        self._name()
        if before is not None:
            self._record("replaced", before=before.manifest.digest, model=model.manifest.digest)
            self.gone(before)

    def _make_room(self, size: int, kept: Entry) -> None:
        """Let the models rest that were not asked for the longest, until another of `size` bytes fits in."""
        budget = self._box.settings.serve.memory_mb
        if budget is None:
            return
        if size > budget * 1_000_000:
            raise Unserved("model_memory", f"{kept.path} alone takes more than memory_mb allows")
        loaded = [entry for entry in self._entries.values() if entry.model is not None and entry is not kept]
        for entry in sorted(loaded, key=lambda one: one.used):
            if size + sum(one.bytes for one in loaded if one.model is not None) <= budget * 1_000_000:
                return
            self._rest(entry, "resting", "memory")

    def _rest(self, entry: Entry, state: State, why: str) -> None:
        """Let the model of an entry go. Raises JournalError, StateError."""
        if (entry.state, entry.model) == (state, None):
            return
        model, entry.model, entry.state = entry.model, None, state
        self._name()
        if model is not None:
            self._record("unloaded", model=model.manifest.digest, why=why)
            self.gone(model)

    def _record(self, kind: str, **data: str) -> None:
        self._box.journal.record(kind, data, self._box.settings.box.tenant)

    def _name(self) -> None:
        """Which names lead to which entry: the plain one to the newest version, unless two lay claim to that."""
        known: defaultdict[str, list[Entry]] = defaultdict(list)
        for entry in self._entries.values():
            if entry.manifest is not None and entry.state != "refused":
                known[entry.manifest.name].append(entry)
        names: dict[str, Entry] = {}
        for name, entries in known.items():
            versions: defaultdict[str, list[Entry]] = defaultdict(list)
            for entry in entries:
                versions[entry.known.version].append(entry)
                names[f"{name}@{entry.known.digest[:12]}"] = entry
            alone = {version: some[0] for version, some in versions.items() if len(some) == 1}
            names |= {f"{name}@{version}": entry for version, entry in alone.items()}
            newest = max(versions, key=_in_order)
            if newest in alone:
                names[name] = alone[newest]
        for alias, name in self._box.settings.serve.alias.items():
            if name in names:
                names[alias] = names[name]
        self._names = names

    def _entry(self, name: str) -> Entry:
        found = self._names.get(name) or next((one for one in self._entries.values() if one.path.stem == name), None)
        if found is None:
            raise Unserved("model_unknown", "no model of this name is served here")
        return found

    @property
    def _switch(self) -> Path:
        return self._box.folder / "state" / "unloaded.json"

    def _unloaded(self) -> frozenset[str]:
        try:
            return msgspec.json.decode(self._switch.read_bytes(), type=_Unloaded).bundles
        except FileNotFoundError:
            return frozenset()

    def _put_unloaded(self, names: frozenset[str]) -> None:
        put(self._switch, msgspec.json.encode(_Unloaded(bundles=names), order="deterministic"))


def _in_order(version: str) -> list[tuple[int, int, str]]:
    """1.10 after 1.9."""
    parts = re.findall(r"[0-9]+|[^0-9]+", version[:MAX_NAME])
    return [(1, int(part), "") if part.isdigit() else (0, 0, part) for part in parts]


def _stamp(path: Path) -> tuple[int, int, int] | None:
    """What changes when a bundle is put in the place of another."""
    try:
        # of a sealed one the file itself
        found = (path / "signature.json" if path.is_dir() else path).stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
