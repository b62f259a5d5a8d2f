"""The salts in a backup: sealed under a fresh key, which is sealed to each auditor, and bound to when they expire.

Whoever has the file and an auditor's key can ignore the expiry, which is a rule that `sealpress restore` keeps.
"""

from __future__ import annotations

from collections.abc import Sequence

from compliance.backup.archive import Contents, SealedSalts
from compliance.backup.errors import BackupError
from compliance.crypto import NONCE, Opener, Sealer, fresh, seal, unseal
from compliance.state.snapshot import Snapshot
from compliance.verify.statements import day_of

__all__ = ["opened", "sealed"]


def sealed(snapshot: Snapshot, sealers: Sequence[Sealer], journal: str, expires: int) -> tuple[bytes, SealedSalts]:
    """The salts as they go into a backup of this journal, to be used until this time (ns)."""
    key, bound = fresh(), _bound(journal, expires)
    keys = {sealer.fingerprint.hex(): sealer.seal(key, bound) for sealer in sealers}
    return seal(key, fresh(NONCE), snapshot.packed(), bound), SealedSalts(expires, keys)


def opened(data: bytes, contents: Contents, opener: Opener, at: int) -> Snapshot:
    """The salts of a backup at the time `at` (ns). Raises BackupError, Unauthentic, StateError."""
    salts = usable(contents, at)
    name = opener.fingerprint.hex()
    if name not in salts.auditors:
        raise BackupError("backup_sealed", f"the salts are sealed to {', '.join(sorted(salts.auditors))}")
    bound = _bound(contents.journal, salts.expires)
    return Snapshot.parsed(unseal(opener.open(salts.auditors[name], bound), data, bound))


def usable(contents: Contents, at: int) -> SealedSalts:
    """The salts, when there are some and they may be restored. Raises BackupError: backup_saltless, backup_expired."""
    if contents.salts is None:
        raise BackupError("backup_saltless", "the backup was made without salts")
    if contents.salts.expires <= at:
        raise BackupError("backup_expired", f"the salts in the backup expired on {day_of(contents.salts.expires)}")
    return contents.salts


def _bound(journal: str, expires: int) -> bytes:
    return b"sealpress.backup/1\x00" + bytes.fromhex(journal) + expires.to_bytes(8, "big")
