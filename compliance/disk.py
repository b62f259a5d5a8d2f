"""Files that are there as a whole or not at all, and keys that are there no more."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from errno import EISDIR
from pathlib import Path
from shutil import rmtree
from tempfile import TemporaryFile, mkdtemp
from typing import BinaryIO

from policies.errors import Failed

__all__ = [
    "destroy",
    "put",
    "put_folder",
    "refuse_unwritable",
    "staged",
    "staged_beside",
    "sync_folder",
    "write_synced",
]


def put(path: Path, data: bytes) -> None:
    """Write beside, sync, and rename into place over what was there. Raises Failed; then nothing has changed."""
    # a name of its own: two processes may put the same file at once
    beside = path.with_name(f".{path.name}.{os.urandom(8).hex()}.new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_synced(beside, data)
        beside.rename(path)
        sync_folder(path.parent)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise Failed("disk", f"{path} was not written: {error.strerror}") from None


def refuse_unwritable(path: Path) -> None:
    """Before long work whose result `put` will write: raises Failed where it could not. Nothing is left behind."""
    folder = path.absolute().parent
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    try:
        if path.is_dir():
            raise IsADirectoryError(EISDIR, os.strerror(EISDIR))
        with TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise Failed("disk", f"{path} cannot be written: {error.strerror}") from None


def put_folder(path: Path, files: Mapping[str, bytes]) -> None:
    """A new folder with these files, in place as a whole or not at all. Raises Failed."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = Path(mkdtemp(prefix=f".{path.name}.", dir=path.parent))
        try:
            for name, data in files.items():
                write_synced(beside / name, data)
            beside.chmod(0o755)
            beside.rename(path)
        except BaseException:
            rmtree(beside, ignore_errors=True)
            raise
        sync_folder(path.parent)
    except OSError as error:
        raise Failed("disk", f"{path} was not written: {error.strerror}") from None


@contextmanager
def staged(path: Path) -> Iterator[BinaryIO]:
    """A new file that only its owner may read, and that takes its name when the context ends well. Raises Failed."""
    with staged_beside(path) as beside, beside.open("r+b") as file:
        yield file


@contextmanager
def staged_beside(path: Path) -> Iterator[Path]:
    """The same by name, for what opens the new file more than once: it is there, and empty. Raises Failed."""
    beside = path.with_name(f".{path.name}.new")
    try:
        beside.unlink(missing_ok=True)
        os.close(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        yield beside
        with beside.open("rb") as file:
            os.fsync(file.fileno())
        beside.rename(path)
        sync_folder(path.parent)
    except OSError as error:
        raise Failed("disk", f"{path} was not written: {error.strerror}") from None
    finally:
        beside.unlink(missing_ok=True)


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


def destroy(path: Path) -> None:
    """Overwrite a key file and remove it; where another process does the same, it is gone either way. Raises Failed.

    A disk may keep what was there before (flash does): whoever fears for that encrypts the disk.
    """
    try:
        with suppress(FileNotFoundError):
            descriptor = os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                os.pwrite(descriptor, bytes(os.fstat(descriptor).st_size), 0)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            path.unlink()
            sync_folder(path.parent)
    except OSError as error:
        raise Failed("disk", f"{path} was not destroyed: {error.strerror}") from None
