"""Who signs on this box and to whom it seals: the key of each day, which its root has certified, and the auditors.

A day key is used on its day in UTC and destroyed afterwards, so that the thief of a box cannot sign for days gone by.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Literal, NamedTuple

from compliance.crypto import Sealer, Signer
from compliance.disk import destroy
from compliance.keys import KeyFault, fingerprint, read_key, write_key
from compliance.verify.keyring import Keyring
from compliance.verify.leaf import Broken
from compliance.verify.note import notes
from compliance.verify.statements import day_of

__all__ = ["MAX_AUDITORS", "Auditors", "DayKey", "DayKeys", "State"]

State = Literal["used", "ready", "missing", "revoked"]

MAX_AUDITORS = 16
_DAY = 86_400 * 10**9


class DayKey(NamedTuple):
    """A key that may sign now, and the note in which the root says so."""

    signer: Signer
    certificate: str


class DayKeys:
    """The key files in `folder`, one a day, and the root's notes on them in `certificates`. Safe for threads.

    `id` is that of the journal, `root` the public key of its root.
    """

    def __init__(self, folder: Path, certificates: Path, id_: str, root: bytes) -> None:
        self.folder = folder
        self.certificates = certificates
        self.id = id_
        self.root = root
        self._read: tuple[tuple[int, ...], Keyring] | None = None
        self._current: tuple[int, Keyring, DayKey] | None = None

    def key(self, at: int) -> DayKey:
        """The certified key of the day of `at` (ns) that was not revoked by then; keys of earlier days are destroyed.

        Raises KeyFault: day_key_missing, certificates_broken. What running processes hold is looked at anew when
        the root has said something new, so that a revocation reaches them.
        """
        day, keyring = at // _DAY, self.keyring()
        current = self._current
        if current is None or current[:2] != (day, keyring) or keyring.revoked(current[2].signer.public, at):
            current = day, keyring, self._found(at, keyring)
            # only now, since a clock that runs wild finds no certified key
            self.destroy_before(day_of(at))
            self._current = current
        return current[2]

    def signer(self, at: int) -> Signer:
        return self.key(at).signer

    def keyring(self) -> Keyring:
        """All that the root has said. Raises KeyFault: certificates_broken."""
        try:
            found = self.certificates.stat()
            stamp = found.st_ino, found.st_mtime_ns, found.st_size
            if self._read is None or self._read[0] != stamp:
                keyring = Keyring(self.id, self.root)
                for note, _ in notes(self.certificates, "certificate_truncated", "certificate_invalid"):
                    keyring.take(note)
                self._read = stamp, keyring
            return self._read[1]
        except (OSError, Broken) as error:
            reason = error.strerror if isinstance(error, OSError) else "not what the root of this journal has signed"
            raise KeyFault("certificates_broken", f"{self.certificates}: {reason}") from None

    def states(self, at: int) -> list[tuple[date, bytes, State]]:
        """Every certified day with its key and how it stands at the time `at` (ns), in the order of the days.

        A key is `revoked` when it is by the end of its day, so that one that will be is replaced in time.
        """
        keyring, today = self.keyring(), day_of(at)

        def state(day: date, key: bytes) -> State:
            if keyring.revoked(key, _end(day)):
                return "revoked"
            if day < today:
                return "used"
            return "ready" if self.path(day, key).is_file() else "missing"

        return [(day, key, state(day, key)) for day, key in keyring.days()]

    def ready(self, at: int) -> set[date]:
        """The days from that of `at` (ns) on for which a key can sign."""
        return {day for day, _, state in self.states(at) if state == "ready"}

    def days_left(self, at: int) -> int:
        """For how many days from that of `at` on a key can sign, without a gap."""
        ready, today = self.ready(at), day_of(at)
        return next(ahead for ahead in range(len(ready) + 1) if today + timedelta(ahead) not in ready)

    def path(self, day: date, public: bytes) -> Path:
        return self.folder / f"{day}-{fingerprint(public)[:8]}.key"

    def make(self, day: date) -> bytes:
        """Make a key for a day, which still has to be certified. Returns its public half. Raises KeyFault."""
        signer = Signer.generate()
        write_key(self.path(day, signer.public), "journal-signing", signer.private_bytes())
        return signer.public

    def destroy_before(self, day: date) -> None:
        """Destroy the keys of all earlier days. Raises Failed."""
        for path in self.folder.glob("????-??-??-*.key"):
            if path.name[:10] < str(day):
                destroy(path)

    def _found(self, at: int, keyring: Keyring) -> DayKey:
        today = day_of(at)
        for day, key in keyring.days():
            certificate = keyring.certificate(key, at)
            if day == today and certificate and not keyring.revoked(key, at) and self.path(day, key).is_file():
                signer = Signer(read_key(self.path(day, key), "journal-signing"))
                if signer.public == key:
                    return DayKey(signer, certificate)
        raise KeyFault("day_key_missing", f"no key may sign on {today}: none is certified, or its file is not here")


class Auditors:
    """The public keys in `folder` to which each epoch is sealed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def files(self) -> list[tuple[str, Path]]:
        """Each key by its fingerprint, with its file. Raises KeyFault: auditor_missing, and for what is no such key."""
        paths = self.folder.glob("*.pub")
        found = sorted((fingerprint(read_key(path, "auditor-public")), path) for path in paths)
        if not found:
            raise KeyFault("auditor_missing", f"{self.folder} holds no key of an auditor")
        return found

    def sealers(self) -> tuple[Sealer, ...]:
        """One for each key, by fingerprint. Raises KeyFault: auditor_missing, auditor_many."""
        keys = dict(self.files())
        if len(keys) > MAX_AUDITORS:
            raise KeyFault(
                "auditor_many", f"{self.folder} holds {len(keys)} keys, at most {MAX_AUDITORS} are sealed to"
            )
        return tuple(Sealer(read_key(path, "auditor-public")) for path in keys.values())


def _end(day: date) -> int:
    """The last nanosecond of a day in UTC, since 1970."""
    return (int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) + 86_400) * 10**9 - 1
