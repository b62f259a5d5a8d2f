"""Bundles that lie on the disk sealed: what everybody may read of one, and how it is opened, in memory only.

A bundle in a folder is plain, one in a file is sealed. Manifest, measurements, signature and licence texts stay
readable and are checked against the signer before a key is touched. The rest is decrypted into memory, and held against
the same signature: the bytes that were hashed are the bytes that are loaded. Nothing of it is written to a disk.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from time import perf_counter

from compliance.crypto import Opener
from compliance.keys import KeyFault, fingerprint
from compliance.sealed.container import MAGIC, Container, Recipient
from compliance.sealed.errors import SealedError
from compliance.sealed.granted import in_force, key_of
from compliance.verify.note import regular
from policies.facts import Manifest
from toolkit.box import Box
from toolkit.bundle import PAPERS, Bundle, Described, Unsealed
from toolkit.modification import MODIFICATION
from toolkit.signed import SIGNATURE, BundleError, BundleMissing

__all__ = ["READABLE", "described", "must_be_plain", "must_still_open", "opened", "told"]

READABLE = frozenset({"manifest.json", "measurements.json", MODIFICATION, SIGNATURE, *PAPERS})


def described(path: Path, trusted: Collection[str]) -> tuple[Described, tuple[Recipient, ...]]:
    """What a bundle is, without opening it, and to whom it is sealed; to nobody where it is plain.

    Raises BundleMissing, BundleError, SealedError.
    """
    if path.is_dir():
        return Bundle.read(path, trusted), ()
    with _container(path) as container:
        return Described.of(path, _Content(container.readable, container.hidden), trusted), container.recipients


def opened(path: Path, box: Box) -> Bundle:
    """Read a bundle of a trusted signer, opening it in memory where it is sealed: to this box, or to a grant that is in
    force here.

    Raises BundleMissing, BundleError, SealedError, KeyFault, StateError, JournalError.
    """
    if path.is_dir():
        return Bundle.read(path, box.trusted())
    began, trusted = perf_counter(), box.trusted()
    with _container(path) as container:
        said = Described.of(path, _Content(container.readable, container.hidden), trusted)
        recipient, opener = _opener(container, box, said.manifest)
        start = perf_counter()
        hidden = container.content(recipient, opener)
        seconds = perf_counter() - start
    unsealed = Unsealed(
        plain_bytes=container.plain_bytes,
        seconds=seconds,
        grant=recipient.name if recipient.kind == "grant" else None,
    )
    content = _Content({**container.readable, **hidden})
    return Bundle.checked(path, content, trusted, began, unsealed)[0]


def must_still_open(under: str | None, box: Box) -> None:
    """Return while what was opened, `under` a grant or none, may stay in memory: one whose grant is over or was revoked
    may not. Where it is used up it may, since each call is refused for that, with the finding.

    Raises SealedError: sealed_grant_issuer, sealed_grant_over, sealed_grant_revoked, sealed_foreign; StateError,
    JournalError.
    """
    if under is not None:
        kept = [one for one in box.meter.all() if one.signed.terms.id == under]
        try:
            in_force(kept, None, box.journal.now(), box.trusted("grants"))
        except SealedError as fault:
            if fault.code != "sealed_grant_spent":
                raise


def must_be_plain(path: Path, to: str) -> None:
    """Return for what is not sealed, where `to` says what is to be done with it. Raises SealedError: sealed_closed."""
    with suppress(FileNotFoundError, IsADirectoryError), path.open("rb") as file:
        if file.read(len(MAGIC)) == MAGIC:
            raise SealedError("sealed_closed", f"{path} is sealed, and cannot be {to}")


def told(seconds: float, unsealed: Unsealed | None) -> str:
    """What it took to open a model, for a person: all in all, and what of that was unsealing."""
    text = f"opened in {1000 * seconds:.0f} ms"
    if unsealed is None:
        return text
    size, ms = unsealed.plain_bytes / 1e6, 1000 * unsealed.seconds
    return f"{text}, of which {ms:.0f} ms unsealing ({size:.1f} MB, {1000 * size / ms:.0f} MB/s)"


def _opener(container: Container, box: Box, model: Manifest) -> tuple[Recipient, Opener]:
    """As whom this box opens it, and with what: its own key, which needs no grant, before that of a grant."""
    try:
        own = box.sealing_key()
    except KeyFault as fault:
        if fault.code != "key_missing":
            raise
        raise SealedError("sealed_foreign", f"this box has no key that bundles are sealed to: {fault}") from None
    for one in container.recipients:
        if (one.kind, one.name) == ("box", fingerprint(own.public)):
            return one, own
    named = {one.name: one for one in container.recipients if one.kind == "grant"}
    kept = [one for one in box.meter.all() if one.signed.terms.id in named] if named else []
    terms = in_force(kept, model, box.journal.now(), box.trusted("grants"))
    return named[terms.id], key_of(terms, own)


@contextmanager
def _container(path: Path) -> Iterator[Container]:
    try:
        with regular(path) as file:
            begins, name = file.read(len(MAGIC)), MAGIC.partition(b"/")[0]
            if not (begins.startswith(name) or name.startswith(begins)):
                raise BundleMissing("bundle_not_found", f"{path} is no bundle")
            file.seek(0)
            yield Container(file)
    except FileNotFoundError:
        raise BundleMissing("bundle_not_found", f"{path} is no bundle") from None
    except OSError as error:
        raise BundleError("bundle_incomplete", f"{path} cannot be read: {error.strerror}") from None


class _Content:
    """The files of a bundle in memory (toolkit.signed.Files)."""

    def __init__(self, content: Mapping[str, bytes], hidden: Collection[str] = ()) -> None:
        """Raises SealedError: sealed_malformed where what has to be readable is not, or the other way round."""
        self.hidden: Collection[str] = frozenset(hidden)
        self._content = content
        if hidden and not (content.keys() <= READABLE and READABLE.isdisjoint(hidden)):
            raise SealedError("sealed_malformed", "it hides what has to stay readable, or shows what has to be hidden")

    def names(self) -> set[str]:
        return {*self._content, *self.hidden}

    def read(self, name: str) -> bytes:
        if name not in self._content:
            raise BundleError("bundle_incomplete", f"{name} is missing or not readable")
        return self._content[name]
