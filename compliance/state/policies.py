"""The policies that were in force, by digest, so that a decision of last year can be explained."""

from __future__ import annotations

from pathlib import Path

from compliance.crypto import sha256
from compliance.disk import put
from compliance.state.errors import StateError

__all__ = ["archive", "archived"]


def archive(folder: Path, digest: str, source: bytes) -> None:
    """Keep the sources of a policy under their digest. Raises Failed."""
    path = folder / f"{digest}.json"
    if not path.exists():
        put(path, source)


def archived(folder: Path, digest: str) -> bytes:
    """What was kept under a digest. Raises StateError when it is missing, or is something else."""
    path = folder / f"{digest}.json"
    try:
        source = path.read_bytes()
    except OSError:
        raise StateError("state_policy", f"no policy {digest[:16]} was archived in {folder}") from None
    if sha256(source).hex() != digest:
        raise StateError("state_policy", f"{path} is not what was archived")
    return source
