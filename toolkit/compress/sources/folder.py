"""A folder that somebody brought: plain names only, nothing from outside of it, and never more than was asked for."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import TypeVar

import msgspec

from toolkit.compress.errors import SourceError

__all__ = ["PICKLES", "File", "Folder"]

# what may run code when it is loaded, by its suffix
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".joblib", ".npy", ".npz", ".h5", ".msgpack")

T = TypeVar("T")

MAX_ENTRIES = 10_000
MAX_JSON = 1_000_000
_PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,199}")


class File(msgspec.Struct, frozen=True):
    """A file of a source: its name relative to the source, where it lies, and the SHA-256 of its bytes."""

    name: str
    path: Path
    sha256: str

    def read(self) -> bytes:
        """The bytes that were hashed. Raises SourceError "source_changed" where the file was changed since."""
        try:
            data = self.path.read_bytes()
        except OSError as error:
            raise SourceError("source_changed", f"{self.path} cannot be read any more: {error.strerror}") from None
        if hashlib.sha256(data).hexdigest() != self.sha256:
            raise SourceError("source_changed", f"{self.path} was changed while it was being read")
        return data


class Folder:
    """`used` lists what was read or hashed, by name: what the result depends on."""

    def __init__(self, path: Path) -> None:
        self._root = path.resolve()
        self._roots = [self._root]
        if self._root.parent.name == "snapshots":
            # in the hub's cache a snapshot is a folder of links into the folder of blobs beside it
            self._roots.append(self._root.parent.parent / "blobs")
        self.used: dict[str, File] = {}

    def names(self, base: str = "") -> list[str]:
        """The files in the folder, or in the one below it at `base`, sorted."""
        entries = []
        for path in self._path(base).iterdir():
            entries.append(path)
            if len(entries) > MAX_ENTRIES:
                raise SourceError("source_too_large", f"{self._root} has more than {MAX_ENTRIES} entries")
        return sorted(path.name for path in entries if path.is_file())

    def has(self, name: str) -> bool:
        return self._path(name).is_file()

    def read(self, name: str, limit: int) -> bytes:
        """The bytes of a file of at most `limit` bytes. Raises SourceError."""
        path = self._path(name)
        try:
            with path.open("rb") as file:
                data = file.read(limit + 1)
        except OSError as error:
            raise SourceError("source_config", f"{path} cannot be read: {error.strerror}") from None
        if len(data) > limit:
            raise SourceError("source_too_large", f"{path} has more than {limit} bytes")
        self.used[name] = File(name, path, hashlib.sha256(data).hexdigest())
        return data

    def json(self, name: str, kind: type[T], limit: int = MAX_JSON) -> T:
        """A JSON file as `kind`. Raises SourceError, "source_config" with the path inside the file."""
        return self.decoded(name, self.read(name, limit), kind)

    def decoded(self, name: str, data: bytes, kind: type[T]) -> T:
        """The bytes of the JSON file `name` as `kind`. Raises SourceError "source_config"."""
        try:
            return msgspec.json.decode(data, type=kind)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise SourceError("source_config", f"{self._root / name}: {error}") from None

    def hash(self, name: str, limit: int) -> File:
        """A large file, hashed without keeping it. Raises SourceError."""
        path = self._path(name)
        size, digest = 0, hashlib.sha256()
        try:
            with path.open("rb") as file:
                while (chunk := file.read(1 << 20)) and size <= limit:
                    size += len(chunk)
                    digest.update(chunk)
        except OSError as error:
            raise SourceError("source_weights", f"{path} cannot be read: {error.strerror}") from None
        if size > limit:
            raise SourceError("source_too_large", f"{path} has more than {limit} bytes")
        self.used[name] = File(name, path, digest.hexdigest())
        return self.used[name]

    def _path(self, name: str) -> Path:
        """Where a name leads to, links followed. Raises SourceError "source_external" where that is not inside."""
        parts = name.rstrip("/").split("/") if name else []
        if not all(_PLAIN.fullmatch(part) for part in parts):
            raise SourceError("source_external", f"{name[:80]!r} is no plain name of a file in {self._root}")
        try:
            path = self._root.joinpath(*parts).resolve()
        except (OSError, RuntimeError):
            raise SourceError("source_external", f"{self._root / name} is a link that leads nowhere") from None
        if not any(path.is_relative_to(root) for root in self._roots):
            raise SourceError("source_external", f"{self._root / name} is a link that leads out of the folder")
        return path
