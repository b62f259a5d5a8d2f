"""A sealed bundle on disk, in format 1: what everybody may read in front, and behind it what only recipients open.

    sealpress.sealed/1 0A | length of the head (4) | head | chunks

The head is JSON: the recipients, each with the content key sealed to it (HPKE, RFC 9180, base mode, X-Wing); the files
that stay readable; the names and sizes of those that do not. These follow one behind the other, in the order of their
names, in chunks of 65,536 bytes, of which the last may be shorter, each with a tag of 16 bytes (crypto.Stream). The key
of the chunks comes from the content key and the SHA-256 of all that stands before them, so a head that was changed in
any way opens nothing, and no chunk fits behind another head.

Who made the content is not said here: a bundle's own signature is among its files.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from io import BytesIO
from typing import Annotated, BinaryIO, Literal

import msgspec
from msgspec import Meta, Struct

from compliance.crypto import TAG, Opener, Sealer, Stream, Unauthentic, derive, fresh, sha256
from compliance.sealed.errors import SealedError

__all__ = ["MAGIC", "MAX_RECIPIENTS", "Container", "Recipient", "Sealing", "write"]

MAGIC = b"sealpress.sealed/1\n"
CHUNK = 65_536  # larger ones leave the processor's nearest caches, and take longer
MAX_HEAD = 64_000_000
MAX_RECIPIENTS = 64
MAX_PART = 4_000_000_000
_LENGTH = 4
_KEY = 32
_LABEL = b"sealpress.sealed/1 chunks"

Kind = Literal["box", "grant"]
_Name = Annotated[str, Meta(pattern=r"\A[\w-][\w.-]{0,254}\Z")]
_Size = Annotated[int, Meta(ge=0, le=MAX_PART)]


class Recipient(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """To whom it is sealed: a box, by the fingerprint of its key, or a grant, by its id."""

    kind: Kind
    name: Annotated[str, Meta(pattern=r"\A[0-9a-f]{32,64}\Z")]
    wrapped: bytes


class _Head(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    recipients: Annotated[tuple[Recipient, ...], Meta(min_length=1, max_length=MAX_RECIPIENTS)]
    readable: dict[_Name, bytes]
    hidden: Annotated[dict[_Name, _Size], Meta(min_length=1)]


class Sealing(Struct, frozen=True, kw_only=True):
    """To whom to seal: a recipient by kind and name, and its public key."""

    kind: Kind
    name: str
    sealer: Sealer

    def wrapped(self, key: bytes) -> Recipient:
        return Recipient(kind=self.kind, name=self.name, wrapped=self.sealer.seal(key, _info(self.kind, self.name)))


def write(file: BinaryIO, readable: Mapping[str, bytes], hidden: Mapping[str, bytes], to: Sequence[Sealing]) -> None:
    """Write a container under a fresh key. Raises SealedError: sealed_recipients; OSError."""
    if not 1 <= len({(one.kind, one.name) for one in to}) == len(to) <= MAX_RECIPIENTS:
        raise SealedError("sealed_recipients", f"{len(to)} recipients were named, or one of them twice")
    key = fresh(_KEY)
    front = _front(
        _Head(
            recipients=tuple(one.wrapped(key) for one in to),
            readable=dict(readable),
            hidden={name: len(data) for name, data in hidden.items()},
        )
    )
    file.write(front)
    stream = Stream(derive(key, _LABEL, sha256(front)))
    plain = b"".join(hidden[name] for name in sorted(hidden))
    starts = range(0, max(1, len(plain)), CHUNK)
    view = memoryview(plain)
    for start in starts:
        file.write(stream.encrypt(view[start : start + CHUNK], last=start == starts[-1]))


class Container:
    """A container whose head was read. Nothing that stands in it is authentic before `content` has returned it."""

    def __init__(self, file: BinaryIO) -> None:
        """Raises SealedError: sealed_malformed, sealed_cut; OSError."""
        start = file.read(len(MAGIC) + _LENGTH)
        if not start.startswith(MAGIC):
            raise SealedError("sealed_malformed", "this is no sealed bundle of format 1")
        length = int.from_bytes(start[len(MAGIC) :])
        if len(start) < len(MAGIC) + _LENGTH:
            raise SealedError("sealed_cut", "the file ends before its head")
        if length > MAX_HEAD:
            raise SealedError("sealed_malformed", f"the head is longer than {MAX_HEAD} bytes")
        said = file.read(length)
        if len(said) < length:
            raise SealedError("sealed_cut", "the file ends within its head")
        head = _parsed(said)
        self.recipients = head.recipients
        self.readable: Mapping[str, bytes] = head.readable
        self.hidden: Mapping[str, int] = head.hidden
        self.plain_bytes = sum(head.hidden.values())
        self._front = sha256(start, said)
        self._file = file
        here = file.tell()
        chunks = max(1, -(-self.plain_bytes // CHUNK))
        # before anything is taken by the sizes that it states
        if file.seek(0, 2) - here != self.plain_bytes + chunks * TAG:
            raise SealedError("sealed_cut", "the file is shorter or longer than its head says")
        file.seek(here)

    def content(self, recipient: Recipient, opener: Opener) -> dict[str, bytes]:
        """The hidden files by name, opened as one of the recipients, and all that was read is as it was written.

        The buffer in which each chunk was decrypted is overwritten. Raises SealedError: sealed_altered, sealed_cut;
        OSError.
        """
        scratch = bytearray(min(CHUNK, self.plain_bytes))
        try:
            stream = Stream(derive(self._unwrapped(recipient, opener), _LABEL, self._front))
            return dict(self._parts(self._chunks(stream, memoryview(scratch))))
        except Unauthentic as error:
            raise SealedError("sealed_altered", f"what was sealed was changed: {error}") from None
        finally:
            scratch[:] = bytes(len(scratch))

    def _unwrapped(self, recipient: Recipient, opener: Opener) -> bytes:
        key = opener.open(recipient.wrapped, _info(recipient.kind, recipient.name))
        if len(key) != _KEY:
            raise SealedError("sealed_malformed", f"the content key has {len(key)} bytes")
        return key

    def _chunks(self, stream: Stream, scratch: memoryview) -> Iterator[memoryview]:
        """Each chunk in plain, which is there until the next one is asked for."""
        starts = range(0, max(1, self.plain_bytes), CHUNK)
        for start in starts:
            plain = scratch[: self.plain_bytes - start]
            sealed = self._file.read(len(plain) + TAG)
            if len(sealed) < len(plain) + TAG:
                raise SealedError("sealed_cut", "the file became shorter while it was read")
            stream.decrypt_into(sealed, plain, last=start == starts[-1])
            yield plain

    def _parts(self, chunks: Iterator[memoryview]) -> Iterator[tuple[str, bytes]]:
        rest = memoryview(b"")
        for name, size in sorted(self.hidden.items()):
            part = BytesIO()  # which hands out what was written without copying it
            while missing := size - part.tell():
                rest = rest or next(chunks)
                part.write(rest[:missing])
                rest = rest[missing:]
            yield name, part.getvalue()
        for _ in chunks:  # the empty one, where there is nothing else
            pass


def _front(head: _Head) -> bytes:
    said = msgspec.json.encode(head, order="deterministic")
    if len(said) > MAX_HEAD:
        raise SealedError("sealed_malformed", f"the head would be longer than {MAX_HEAD} bytes")
    return MAGIC + len(said).to_bytes(_LENGTH) + said


def _parsed(said: bytes) -> _Head:
    """The head, which has one spelling only."""
    try:
        head = msgspec.json.decode(said, type=_Head)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise SealedError("sealed_malformed", f"the head cannot be read: {str(error)[:200]}") from None
    if msgspec.json.encode(head, order="deterministic") != said:
        raise SealedError("sealed_malformed", "the head is not in the form that was written")
    names = [(one.kind, one.name) for one in head.recipients]
    if len(set(names)) < len(names) or not head.readable.keys().isdisjoint(head.hidden):
        raise SealedError("sealed_malformed", "the head names a recipient or a file twice")
    return head


def _info(kind: Kind, name: str) -> bytes:
    return b"sealpress.sealed/1\x00%s\x00%s" % (kind.encode(), name.encode())
