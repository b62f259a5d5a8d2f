"""What can go wrong with a journal that is written or read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from policies.errors import Failed, Refused

__all__ = ["JournalError", "NotReadable"]


class JournalError(Failed):
    """The journal cannot be written, so nothing runs."""

    hints: ClassVar[Mapping[str, str]] = {
        "journal_missing": "Restore the journal from its backup; only `sealpress init` makes one, in a new folder.",
        "journal_exists": "There is a journal here already: nothing was changed.",
        "journal_foreign": "The settings and the journal belong to different boxes: restore the one that fits.",
        "journal_broken": "Run `sealpress journal verify`; keep a copy, and restore the journal from its backup.",
        "journal_write": "Free some disk space or make the folder writable: nothing runs until a record is written.",
        "journal_shards": "More than 1,000 processes hold this journal: stop some of them.",
    }


class NotReadable(Refused):
    """Records that these keys do not open."""

    hints: ClassVar[Mapping[str, str]] = {
        "epoch_sealed": "Use the private key of the auditor for whom this epoch was sealed.",
        "record_altered": "Run `sealpress journal verify` to see which records were altered.",
    }
