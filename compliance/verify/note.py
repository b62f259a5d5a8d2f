"""Signed notes as C2SP has them (c2sp.org/signed-note, c2sp.org/tlog-cosignature), with Ed25519."""

from __future__ import annotations

import base64
import binascii
import errno
import os
import re
import stat
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, NamedTuple

from compliance.crypto import Signer, Unauthentic, sha256, verify
from compliance.verify.leaf import Broken

__all__ = [
    "DAY",
    "ROOT",
    "WITNESS",
    "Note",
    "cosigned",
    "cosigned_at",
    "key_id",
    "notes",
    "notes_in",
    "regular",
    "signed",
    "witness_id",
]

# who signs: the names of keys in signature lines
ROOT, DAY, WITNESS = "sealpress.root", "sealpress.day", "sealpress.witness"
MAX_LINE = 1_000_000
MAX_LINES = 2_000
_NAME = re.compile(r"[!-~]+")
_NOFOLLOW, _NONBLOCK = getattr(os, "O_NOFOLLOW", 0), getattr(os, "O_NONBLOCK", 0)
_ED25519, _COSIGNATURE = b"\x01", b"\x04"


class Note(NamedTuple):
    """A note in its one spelling: the signed text, and for each signature the key's name, id and signature."""

    text: str
    signatures: tuple[tuple[str, bytes, bytes], ...]

    @classmethod
    def parsed(cls, note: str) -> Note:
        """Raises Unauthentic: signature."""
        text, empty, rest = note.partition("\n\n")
        text += "\n"
        signatures = []
        for line in rest.removesuffix("\n").split("\n"):
            dash, _, named = line.partition(" ")
            name, _, encoded = named.partition(" ")
            try:
                signature = base64.b64decode(encoded, validate=True)
            except (binascii.Error, ValueError):
                signature = b""
            if dash != "—" or not _NAME.fullmatch(name) or len(signature) < 4:
                raise Unauthentic("signature", "this is no signed note")
            signatures.append((name, signature[:4], signature[4:]))
        found = cls(text, tuple(signatures))
        # written again and compared, so that no second spelling of the same note passes
        if not empty or found.written() != note:
            raise Unauthentic("signature", "this is no signed note")
        return found

    def written(self) -> str:
        lines = (f"— {name} {base64.b64encode(id_ + signature).decode()}\n" for name, id_, signature in self.signatures)
        return f"{self.text}\n{''.join(lines)}"

    def first(self) -> Note:
        """The note without the signatures that were added to it."""
        return Note(self.text, self.signatures[:1])

    def check(self, name: str, public: bytes) -> str:
        """The text, when it bears this one signature. Raises Unauthentic: signature."""
        if len(self.signatures) != 1:
            raise Unauthentic("signature", "the note has more than one signature")
        found, id_, signature = self.signatures[0]
        if found != name or id_ != key_id(name, public):
            raise Unauthentic("signature", "the note was signed with another key")
        verify(public, signature, self.text.encode())
        return self.text


def signed(text: str, name: str, signer: Signer) -> str:
    """The note over a text that ends with a newline and has no empty line."""
    return Note(text, ((name, key_id(name, signer.public), signer.sign(text.encode())),)).written()


def cosigned(note: Note, seconds: int, witness: Signer) -> Note:
    """The note with the signature of a witness who saw it at this time, in seconds since 1970."""
    signature = seconds.to_bytes(8, "big") + witness.sign(_seen(note.text, seconds))
    return Note(note.text, (*note.signatures, (WITNESS, witness_id(witness.public), signature)))


def cosigned_at(note: Note, public: bytes) -> int:
    """When the witness with this key saw the note, in seconds since 1970. Raises Unauthentic: signature."""
    for name, id_, signature in note.signatures:
        if name == WITNESS and id_ == witness_id(public):
            seconds = int.from_bytes(signature[:8], "big")
            verify(public, signature[8:], _seen(note.text, seconds))
            return seconds
    raise Unauthentic("signature", "this witness has not signed the note")


def key_id(name: str, public: bytes) -> bytes:
    return sha256(name.encode(), b"\n", _ED25519, public)[:4]


def regular(path: Path) -> BinaryIO:
    """Open a file to read. Raises FileNotFoundError where none is, also for a link, a folder and a pipe."""
    try:
        if not stat.S_ISREG(path.lstat().st_mode):
            raise FileNotFoundError(errno.ENOENT, "no regular file", str(path))
    except NotADirectoryError:
        raise FileNotFoundError(errno.ENOENT, "no regular file", str(path)) from None
    # for what it is replaced by in between: neither followed nor waited for
    return os.fdopen(os.open(path, os.O_RDONLY | _NOFOLLOW | _NONBLOCK), "rb")


def notes(path: Path, truncated: str, malformed: str, size: int | None = None) -> Iterator[tuple[str, int]]:
    """The notes in a file, not yet checked, and where each ends. What is added meanwhile is left out, or what came
    since the file had this size.

    Raises Broken: `truncated` when the file ends inside a note, `malformed` when it cannot be cut into notes;
    FileNotFoundError.
    """
    with regular(path) as file:
        size = file.seek(0, 2) if size is None else size
        file.seek(0)
        end = 0
        while end < size:
            text, end = _next(file.readline, end, truncated, malformed)
            if end > size:
                return
            yield text, end


def notes_in(data: bytes, truncated: str, malformed: str) -> Iterator[str]:
    """The notes in the bytes of such a file, not yet checked. Raises Broken: `truncated`, `malformed`."""
    file, end = BytesIO(data), 0
    while end < len(data):
        text, end = _next(file.readline, end, truncated, malformed)
        yield text


def _next(readline: Callable[[int], bytes], end: int, truncated: str, malformed: str) -> tuple[str, int]:
    """One note, with the empty line behind it that parts it from the next."""
    lines: list[bytes] = []
    empty = 0
    while empty < 2:
        line = readline(MAX_LINE + 1)
        end += len(line)
        if not line.endswith(b"\n"):
            raise Broken(malformed if len(line) > MAX_LINE else truncated)
        # a text has a line at least, and so have its signatures
        if len(lines) >= MAX_LINES or (line == b"\n" and (lines or [line])[-1] == line):
            raise Broken(malformed)
        empty += line == b"\n"
        lines.append(line)
    try:
        return b"".join(lines[:-1]).decode(), end
    except UnicodeDecodeError:
        raise Broken(malformed) from None


def _seen(text: str, seconds: int) -> bytes:
    return f"cosignature/v1\ntime {seconds}\n{text}".encode()


def witness_id(public: bytes) -> bytes:
    return sha256(WITNESS.encode(), b"\n", _COSIGNATURE, public)[:4]
