"""The keys of a box, by where they lie."""

from __future__ import annotations

from pathlib import Path

from compliance.journal.genesis import CERTIFICATES, identity
from compliance.journal.signing import Auditors, DayKeys
from compliance.keys import from_text, kind_of
from toolkit.settings import Settings

__all__ = ["apart", "auditors", "day_keys", "exposed"]

_APART = ("auditor", "root")


def day_keys(folder: Path, settings: Settings) -> DayKeys:
    """The keys that sign the journal of the box in this folder. Raises JournalError when it has none of its own."""
    journal, root = folder / "journal", from_text(settings.journal.root)
    return DayKeys(folder / "keys" / "days", journal / CERTIFICATES, identity(journal, root), root)


def auditors(folder: Path) -> Auditors:
    """To whom the journal of the box in this folder is sealed."""
    return Auditors(folder / "keys" / "auditors")


def apart(folder: Path) -> dict[str, Path]:
    """The folders beside a new box in which keys lie that have to be moved off its machine, by whose key it is."""
    return {name: folder.with_name(f"{folder.name}-{name}") for name in _APART}


def exposed(folder: Path) -> tuple[Path, ...]:
    """The private keys of auditors and roots that lie with a box: inside it, or beside it where init left them."""
    found = {
        path
        for place in (folder, *apart(folder).values())
        for pattern in ("*.key", "*/*.key")
        for path in place.glob(pattern)
    }
    return tuple(sorted(path for path in found if kind_of(path) in ("auditor-private", "journal-root")))
