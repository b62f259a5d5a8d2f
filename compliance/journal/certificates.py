"""How day keys come to be certified and revoked: the box requests, the root certifies, the box installs.

The root's key need not be where the box is. A request and what comes back are small files, carried on a medium.
"""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

from compliance.crypto import Signer
from compliance.disk import destroy, put
from compliance.journal.signing import DayKeys
from compliance.keys import KeyFault, fingerprint, read_key
from compliance.verify.keyring import Keyring, certified
from compliance.verify.leaf import Broken
from compliance.verify.note import ROOT, notes, signed
from compliance.verify.statements import DAYS_AHEAD, Certificate, Revocation, day_of, key_bytes, key_text

__all__ = ["Request", "certify", "install", "kept_elsewhere", "read_notes", "read_request", "request", "revoke"]

_MAX_FILE = 1_000_000
_REQUEST = re.compile(r"sealpress\.journal/([0-9a-f]{32})/request\nroot (\S+)\n((?:day \S+ \S+\n){1,31})")


@dataclass(frozen=True)
class Request:
    """The days for which a box asks its root to certify keys, with the public key (32 bytes) of each.

    As text: `sealpress.journal/ID/request`, `root KEY`, and a line `day DAY KEY` each, in the order of the days.
    """

    id: str
    root: bytes
    days: tuple[tuple[date, bytes], ...]

    def text(self) -> str:
        lines = "".join(f"day {day} {key_text(key)}\n" for day, key in self.days)
        return f"sealpress.journal/{self.id}/request\nroot {key_text(self.root)}\n{lines}"

    @classmethod
    def parsed(cls, text: str) -> Request:
        """Raises KeyFault: key_request."""
        try:
            if not (form := _REQUEST.fullmatch(text)):
                raise ValueError
            lines = [line.split(" ") for line in form[3].splitlines()]
            found = cls(form[1], key_bytes(form[2]), tuple((date.fromisoformat(a), key_bytes(b)) for _, a, b in lines))
        except ValueError:
            raise KeyFault("key_request", "this is no request for certificates") from None
        days = [day for day, _ in found.days]
        if found.text() != text or days != sorted(set(days)) or len({key for _, key in found.days}) < len(days):
            raise KeyFault("key_request", "this is no request for certificates as a box writes it")
        return found

    @property
    def fingerprint(self) -> str:
        """SHA-256 over the text, to compare by eye before it is certified."""
        return fingerprint(self.text().encode())


def request(keys: DayKeys, at: int, count: int = DAYS_AHEAD) -> Request:
    """Ask for those of `count` days from that of `at` (ns) on that have no key yet; perhaps for none.

    The keys are made here; those of a request that was never answered are asked for again. Raises KeyFault, Failed.
    """
    today = day_of(at)
    with _locked(keys.folder):
        keys.destroy_before(today)
        ready = keys.ready(at)
        wanted = [day for ahead in range(count) if (day := today + timedelta(ahead)) not in ready]
        return Request(keys.id, keys.root, tuple((day, _waiting(keys, day) or keys.make(day)) for day in wanted))


def certify(asked: Request, root: Signer, made: date) -> list[str]:
    """The root's notes on all keys of a request; `made` is today. Raises KeyFault: root_foreign, key_request."""
    if root.public != asked.root:
        raise KeyFault("root_foreign", "the request is for another root key than the one that was given")
    certificates = [Certificate(asked.id, key, day, made) for day, key in asked.days]
    for certificate in certificates:
        if not certificate.in_bounds:
            raise KeyFault(
                "key_request", f"{certificate.day} is not within {DAYS_AHEAD} days from {made}, which is today here"
            )
    return [signed(certificate.text(), ROOT, root) for certificate in certificates]


def revoke(id_: str, key: bytes, since: int, root: Signer) -> str:
    """The root's note that takes back, from the time `since` (ns) on, what it certified for this key."""
    return signed(Revocation(id_, key, since).text(), ROOT, root)


def install(keys: DayKeys, given: Iterable[str], at: int) -> list[Certificate | Revocation]:
    """Put notes of the root in force at the time `at` (ns): all of them or none. Returns those that said something new.

    Keys that are revoked by now are destroyed. Raises KeyFault: certificate_foreign, certificates_broken; Failed.
    """
    with _locked(keys.folder):
        keyring, news = keys.keyring(), []
        known = set(keyring.days())
        for note in given:
            try:
                found = certified(note, keys.id, keys.root)
            except Broken:
                raise KeyFault("certificate_foreign", "not all was signed by this box's root for this box") from None
            if isinstance(found, Revocation):
                new = not keyring.revoked(found.key, found.since)
            else:
                # a day that is over has no key any more
                new = found.day >= day_of(at) and (found.day, found.key) not in known
                if new and not keys.path(found.day, found.key).is_file():
                    raise KeyFault("certificate_foreign", f"the key certified for {found.day} is not on this box")
            if new:
                news.append((note, found))
        if news:
            added = "".join(f"{note}\n" for note, _ in news)
            put(keys.certificates, keys.certificates.read_bytes() + added.encode())
        keyring = keys.keyring()
        for day, key in keyring.days():
            if keyring.revoked(key, at):
                destroy(keys.path(day, key))
    return [found for _, found in news]


def read_request(path: Path) -> Request:
    """The request in a file that was handed over. Raises KeyFault: key_request; OSError."""
    with path.open("rb") as file:
        text = file.read(_MAX_FILE)
    return Request.parsed(text.decode("utf-8", "replace"))


def read_notes(path: Path) -> list[str]:
    """The notes in a file that was handed over, not yet checked. Raises KeyFault: certificate_foreign; OSError."""
    try:
        if path.stat().st_size <= _MAX_FILE:
            return [note for note, _ in notes(path, "certificate_truncated", "certificate_invalid")]
    except Broken:
        pass
    raise KeyFault("certificate_foreign", f"{path} does not hold notes as `sealpress keys` writes them")


def kept_elsewhere(path: Path, root: bytes) -> Keyring:
    """What this root has certified, from a copy of its notes, when the box is gone. Raises KeyFault; OSError."""
    given = read_notes(path)
    keyring = Keyring("".join(given[:1]).partition("/")[2].partition("/")[0], root)
    try:
        for note in given:
            keyring.take(note)
    except Broken:
        raise KeyFault("certificate_foreign", f"{path} holds notes that this root has not signed") from None
    return keyring


def _waiting(keys: DayKeys, day: date) -> bytes | None:
    """The key of a day that waits for its certificate."""
    certified_days = set(keys.keyring().days())
    for path in sorted(keys.folder.glob(f"{day}-*.key")):
        public = Signer(read_key(path, "journal-signing")).public
        if (day, public) not in certified_days:
            return public
    return None


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """One process at a time makes or certifies keys."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
