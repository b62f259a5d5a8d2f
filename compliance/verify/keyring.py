"""Who may sign for a journal, and when: the day keys that its root has certified, less those that it has revoked."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date

from compliance.crypto import Unauthentic
from compliance.verify.leaf import Broken
from compliance.verify.note import DAY, ROOT, Note, key_id
from compliance.verify.statements import Certificate, Revocation, day_of

__all__ = ["Keyring", "certified"]


class Keyring:
    """Filled by `take` with the notes of the root, in order."""

    def __init__(self, id_: str, root: bytes) -> None:
        self.id = id_
        self.root = root
        self._certificates: dict[bytes, list[tuple[Certificate, str]]] = {}
        self._revoked: dict[bytes, int] = {}

    def take(self, note: str) -> Certificate | Revocation:
        """Take in a note of the root. Raises Broken: certificate_invalid, certificate_days."""
        found = certified(note, self.id, self.root)
        if isinstance(found, Revocation):
            self._revoked[found.key] = min(found.since, self._revoked.get(found.key, found.since))
        else:
            self._certificates.setdefault(key_id(DAY, found.key), []).append((found, note))
        return found

    def revoke(self, notes: Iterable[str]) -> None:
        """Take in revocations that were handed over from outside; other notes among them are left aside."""
        for note in notes:
            try:
                found = certified(note, self.id, self.root)
            except Broken:
                continue
            if isinstance(found, Revocation):
                self._revoked[found.key] = min(found.since, self._revoked.get(found.key, found.since))

    def signer_of(self, note: Note) -> bytes:
        """The certified key whose signature the note bears first. Raises Unauthentic: signature."""
        first = note.first()
        for certificate, _ in self._certificates.get(first.signatures[0][1], ()):
            try:
                first.check(DAY, certificate.key)
            except Unauthentic:
                continue
            return certificate.key
        raise Unauthentic("signature", "the note was not signed with a key that the root has certified")

    def certificate(self, key: bytes, at: int) -> str | None:
        """The note that lets the key sign at this time (ns), or None."""
        try:
            day = day_of(at)
        except ValueError:
            return None
        known = self._certificates.get(key_id(DAY, key), ())
        return next((note for found, note in known if found.key == key and found.day == day), None)

    def revoked(self, key: bytes, at: int) -> bool:
        """Whether the key had been revoked at this time (ns)."""
        since = self._revoked.get(key)
        return since is not None and since <= at

    def revoked_since(self, key: bytes) -> int | None:
        """From when on the key is revoked (ns), or None."""
        return self._revoked.get(key)

    def days(self) -> list[tuple[date, bytes]]:
        """Each certified day with its key, revoked ones included, in the order of the days."""
        every = (found for known in self._certificates.values() for found, _ in known)
        return sorted((found.day, found.key) for found in every)


def certified(note: str, id_: str, root: bytes) -> Certificate | Revocation:
    """What the root says in a note. Raises Broken: certificate_invalid, certificate_days."""
    try:
        text = Note.parsed(note).check(ROOT, root)
        kind = Revocation if text.partition("\n")[0].endswith("/revocation") else Certificate
        found = kind.parsed(text)
    except (Unauthentic, ValueError):
        raise Broken("certificate_invalid") from None
    if found.id != id_:
        raise Broken("certificate_invalid")
    if isinstance(found, Certificate) and not found.in_bounds:
        raise Broken("certificate_days")
    return found
