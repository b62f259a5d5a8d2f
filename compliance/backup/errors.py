"""What can be wrong with a backup."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from policies.errors import Refused

__all__ = ["BackupError"]


class BackupError(Refused):
    """A backup that cannot be restored as it was asked for. Nothing is left of the attempt."""

    hints: ClassVar[Mapping[str, str]] = {
        "backup_malformed": "Take the backup again from where it was made: it was cut or altered, or is none.",
        "backup_format": "Use the version of sealpress that made the backup.",
        "backup_expired": "Restore with --without-salts: the journal comes back, and nobody reads its records.",
        "backup_saltless": "Restore with --without-salts: the journal comes back, and nobody reads its records.",
        "backup_sealed": "Give the private key of an auditor that the message names, or restore with --without-salts.",
    }
