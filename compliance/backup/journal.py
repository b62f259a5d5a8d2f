"""A journal for a backup, as it stands at one moment, also while it is written to.

Every file is taken up to where something signed ends: first the heads of the witness, then the joint heads, then those
of the shards, and at last the keys that signed them. So each finds below it all that it speaks of.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from compliance.backup.archive import Part
from compliance.crypto import Unauthentic
from compliance.journal.appended import last_note
from compliance.journal.errors import JournalError
from compliance.journal.genesis import CERTIFICATES, GENESIS, JOINT_HEADS
from compliance.verify.leaf import shard_name
from compliance.verify.note import Note, regular
from compliance.verify.statements import MAX_SHARDS, Head

__all__ = ["Extent", "measured", "parts"]

_WITNESSED = "witnessed.notes"


class Extent(NamedTuple):
    """How much of each file belongs to the moment, in bytes; and the certificates, which are replaced as a whole."""

    sizes: dict[str, int]
    certificates: bytes


def measured(directory: Path) -> Extent:
    """Raises JournalError, OSError."""
    sizes = {}
    for name in (_WITNESSED, JOINT_HEADS):
        _, sizes[name] = _last(directory / name)
    for number in range(MAX_SHARDS):
        name = shard_name(number)
        note, sizes[f"{name}.heads"] = _last(directory / f"{name}.heads")
        if note is None:
            del sizes[f"{name}.heads"]  # none, or one that is just begun
            break
        try:
            sizes[f"{name}.log"] = Head.parsed(Note.parsed(note).text).size_bytes
        except (Unauthentic, ValueError):
            raise JournalError("journal_broken", f"the last head of {name} is none") from None
    sizes[GENESIS] = (directory / GENESIS).stat().st_size
    return Extent(sizes, (directory / CERTIFICATES).read_bytes())


def parts(directory: Path, extent: Extent) -> Iterator[Part]:
    """Raises JournalError, OSError."""
    yield Part.of(f"journal/{CERTIFICATES}", extent.certificates)
    for name, size in extent.sizes.items():
        yield Part.of(f"journal/{name}", directory / name if size else b"", size)


def _last(path: Path) -> tuple[str | None, int]:
    """The last whole note in a file of notes, and where it ends."""
    try:
        with regular(path) as file:
            return last_note(file.fileno())
    except FileNotFoundError:
        return None, 0
    except UnicodeDecodeError:
        raise JournalError("journal_broken", f"{path} holds something else than notes") from None
