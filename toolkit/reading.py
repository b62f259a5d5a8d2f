"""A journal opened with an auditor's key: on its box with the salts, or a copy with what the box released of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compliance.crypto import Opener
from compliance.journal.reader import Contributions, Source, Walk
from compliance.journal.release import MAX_FILE, contributions
from compliance.keys import from_text, secret
from compliance.state.salts import Salts
from compliance.verify.journal import Verified, verify_journal
from toolkit.box import Box, Context

__all__ = ["BoxReading", "Reading", "on_box", "on_copy"]


@dataclass(frozen=True)
class Reading:
    """A journal that was verified, and what opens its records."""

    walk: Walk
    source: Source

    def tell(self, kind: str, data: dict[str, Any]) -> None:
        """Put on record what is read, before anybody sees it. Of a copy nothing is: its box told what it released."""


@dataclass(frozen=True)
class BoxReading(Reading):
    """The journal of a box, open as long as the context that gave it."""

    source: Salts
    box: Box

    def tell(self, kind: str, data: dict[str, Any]) -> None:
        """Raises JournalError, StateError, KeyFault; then nothing may be shown."""
        self.box.journal.record(kind, {"auditor": self.walk.auditor, **data}, self.box.settings.box.tenant)
        self.box.journal.checkpoint()

    def rows_of(self, subject: str, tenant: str | None = None) -> frozenset[bytes]:
        """The rows of a person's records. Raises InputError, StateError."""
        Context(subject=subject)  # the same limits as in a call
        return self.source.rows_of(tenant or self.box.settings.box.tenant, subject)


@contextmanager
def on_box(box: Box, auditor_key: str, verified: Verified | None = None) -> Iterator[BoxReading]:
    """The journal of a box; `auditor_key` is the source of the private key. It is verified, unless it was just now.

    Raises NotVerified, KeyFault, StateError, and JournalError: where reading cannot be put on record, nothing is read.
    """
    opener = Opener(secret(auditor_key, "auditor-private"))
    with closing(box.journal), closing(Salts(box.salts_path)) as salts:
        if verified is None:
            box.journal.now()
            verified = verify_journal(box.journal_folder, from_text(box.settings.journal.root))
        yield BoxReading(Walk(box.journal_folder, verified.id, opener), salts, box)


def on_copy(directory: Path, root: bytes | str, auditor_key: str, releases: Sequence[Path] = ()) -> Reading:
    """A copy of a journal, read with these releases. `root` is the public key of its root, or its fingerprint.

    Raises NotVerified, NotReadable, KeyFault, OSError.
    """
    opener = Opener(secret(auditor_key, "auditor-private"))
    id_ = verify_journal(directory, root).id
    found: Contributions = {}
    for path in releases:
        with path.open("rb") as file:
            found = {**found, **contributions(file.read(MAX_FILE + 1), opener, id_)}
    return Reading(Walk(directory, id_, opener), found)
