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
        "journal_forked": "This copy is an older or another one: stop it, keep both, and restore the one witnessed.",
        "journal_write": "Free some disk space or make the folder writable: nothing runs until a record is written.",
        "journal_shards": "More than 1,000 processes hold this journal: stop some of them.",
    }


class NotReadable(Refused):
    """Records that these keys do not open."""

    hints: ClassVar[Mapping[str, str]] = {
        "epoch_sealed": "Use the private key of the auditor for whom this epoch was sealed.",
        "record_unsigned": "Wait a second and ask again: a head is signed once a second while records are written.",
        "record_altered": "Run `sealpress journal verify` to see which records were altered.",
        "record_unknown": "Take the names of records from the journal itself, such as shard-000/17.",
        "record_erased": "What was erased opens for nobody: leave it out.",
        "release_malformed": "Take the file again from where `sealpress journal request` or `release` made it.",
        "release_foreign": "Bring it to the journal that it names, as the auditor that it names.",
    }
