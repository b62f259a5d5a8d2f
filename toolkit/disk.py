"""Files that are there as a whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

from policies.errors import Failed

__all__ = ["put", "sync_folder", "write_synced"]


def put(path: Path, data: bytes) -> None:
    """Write beside, sync, and rename into place over what was there. Raises Failed; then nothing has changed."""
    beside = path.with_name(f".{path.name}.new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside.unlink(missing_ok=True)
        write_synced(beside, data)
        beside.rename(path)
        sync_folder(path.parent)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise Failed("disk", f"{path} was not written: {error.strerror}") from None


def write_synced(path: Path, data: bytes) -> None:
    """Write a new file and wait until it is on the disk. Raises OSError."""
    with path.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def sync_folder(path: Path) -> None:
    """Wait until the names in a folder are on the disk. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
