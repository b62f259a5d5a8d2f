"""The key of the table of salts, in a file of its own beside it: `salts-ID.key`.

    format (1 byte: 1) | key that seals the salts (32) | key of the hashes (32)

Destroying rows moves the table on to a new key, so that what the disk still holds of the old table opens with nothing.
The key of the hashes stays, since who a row stands for is known by its hash only.
"""

from __future__ import annotations

import os
from pathlib import Path

from compliance.crypto import NONCE, derive, fresh, seal, unseal
from compliance.disk import destroy, sync_folder
from compliance.state.errors import StateError

__all__ = ["TableKey"]

_FORMAT = b"\x01"
_KEY = 32


class TableKey:
    """A key with its id, as the table names it. It is never shown."""

    def __init__(self, id_: bytes, sealing: bytes, hashing: bytes) -> None:
        self.id = id_
        self._sealing = sealing
        self._hashing = hashing

    @classmethod
    def generate(cls) -> TableKey:
        return cls(fresh(16), fresh(), fresh())

    def successor(self) -> TableKey:
        """Another key that makes the same hashes."""
        return TableKey(fresh(16), fresh(), self._hashing)

    def hashed(self, label: bytes, *parts: str) -> bytes:
        encoded = [part.encode() for part in parts]
        return derive(self._hashing, label, b"".join(len(part).to_bytes(4, "big") + part for part in encoded))

    def seal(self, row: bytes, salt: bytes) -> bytes:
        return seal(self._sealing, fresh(NONCE), salt, row)

    def open(self, row: bytes, sealed: bytes) -> bytes:
        """The salt of a row. Raises Unauthentic."""
        return unseal(self._sealing, sealed, row)

    @classmethod
    def read(cls, folder: Path, id_: bytes) -> TableKey:
        """Raises OSError, StateError."""
        path = _path(folder, id_)
        return cls.parsed(id_, path.read_bytes(), str(path))

    @classmethod
    def parsed(cls, id_: bytes, content: bytes, source: str) -> TableKey:
        """The key in the content of a file. Raises StateError."""
        if content[:1] != _FORMAT or len(content) != 1 + 2 * _KEY:
            raise StateError("state_broken", f"{source} holds no key of this format")
        return cls(id_, content[1 : 1 + _KEY], content[1 + _KEY :])

    def packed(self) -> bytes:
        """The content of its file."""
        return _FORMAT + self._sealing + self._hashing

    def write(self, folder: Path) -> None:
        """Write the file of this key, and wait until it is on the disk. Raises OSError."""
        descriptor = os.open(_path(folder, self.id), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            os.write(descriptor, self.packed())
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        sync_folder(folder)

    def destroy_others(self, folder: Path) -> None:
        """Raises Failed."""
        for other in self.others(folder):
            destroy(other)

    def others(self, folder: Path) -> list[Path]:
        """The files of keys that the table no longer uses, or never used, as a destruction leaves them that died."""
        return [path for path in folder.glob("salts-*.key") if path != _path(folder, self.id)]


def _path(folder: Path, id_: bytes) -> Path:
    return folder / f"salts-{id_.hex()}.key"
