"""The first files of a journal, and the identity that they give it."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from compliance.crypto import Signer, Unauthentic
from compliance.disk import sync_folder, write_synced
from compliance.journal.errors import JournalError
from compliance.verify.note import DAY, ROOT, Note, signed
from compliance.verify.statements import Genesis, JointHead

__all__ = ["CERTIFICATES", "GENESIS", "JOINT_HEADS", "create", "identity"]

GENESIS, CERTIFICATES, JOINT_HEADS = "journal.note", "certificates.notes", "journal.heads"
_MAX_NOTE = 65_536


def create(directory: Path, root: Signer, first_day: Signer, certificates: Sequence[str], id_: str, made: int) -> None:
    """Make an empty journal: its genesis note, what the root has certified, and a joint head over nothing.

    `first_day` is the certified key of the day of `made` (ns). Raises JournalError where something is already.
    """
    if directory.exists():
        raise JournalError("journal_exists", f"{directory} exists already")
    genesis = Genesis(id_, root.public, datetime.fromtimestamp(made // 10**9, UTC).isoformat(timespec="seconds"))
    files = {
        GENESIS: signed(genesis.text(), ROOT, root),
        CERTIFICATES: "".join(f"{note}\n" for note in certificates),
        JOINT_HEADS: signed(JointHead(id_, made, ()).text(), DAY, first_day) + "\n",
    }
    beside = directory.with_name(f".{directory.name}.new")
    shutil.rmtree(beside, ignore_errors=True)  # where a crash left it
    try:
        beside.mkdir(parents=True)
        for name, text in files.items():
            write_synced(beside / name, text.encode())
        sync_folder(beside)
        beside.rename(directory)
        sync_folder(directory.parent)
    except OSError as error:
        raise JournalError("journal_write", f"{directory} was not made: {error.strerror}") from None
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def identity(directory: Path, root: bytes) -> str:
    """The id of the journal that this root has made here. Raises JournalError: journal_missing, journal_foreign."""
    path = directory / GENESIS
    try:
        with path.open(encoding="utf-8", newline="") as file:
            found = Genesis.parsed(Note.parsed(file.read(_MAX_NOTE)).check(ROOT, root))
    except OSError:
        raise JournalError("journal_missing", f"{directory} holds no journal") from None
    except (Unauthentic, ValueError):
        raise JournalError("journal_foreign", f"{path} was not signed with the root key of the settings") from None
    if found.root != root:
        raise JournalError("journal_foreign", f"{path} names another root key than the settings")
    return found.id
