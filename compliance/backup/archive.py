"""The file of a backup: a tar with `backup.json` first, which lists what follows, and that in this order.

Each header has one spelling, which follows from the list; whatever differs from it by a bit is refused. So there are
no links, no devices, no names that lead out of the folder and no sizes that are not in the file.
"""

from __future__ import annotations

import hashlib
import re
import tarfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, BinaryIO, NamedTuple

import msgspec
from msgspec import Meta, Struct

from compliance.backup.errors import BackupError
from compliance.disk import staged
from compliance.journal.errors import JournalError
from compliance.verify.note import regular

__all__ = [
    "API_KEYS",
    "CONSENTS",
    "GRANTS",
    "KEPT",
    "OVERRIDES",
    "SALTS",
    "SETTINGS",
    "Archive",
    "Contents",
    "Member",
    "Part",
    "SealedSalts",
    "is_own",
    "is_rule",
    "write",
]

SETTINGS, SALTS, API_KEYS = "sealpress.toml", "state/salts.sealed", "state/api_keys.sqlite"
CONSENTS, GRANTS, OVERRIDES = "state/consents.sqlite", "state/grants.sqlite", "state/overrides"
# folders of small files that evidence and reports are made with
KEPT = ("state/policies", "state/declarations", OVERRIDES, "answers", "duties")

FORMAT = 1
_CONTENTS = "backup.json"
_MAX_CONTENTS = 4_000_000
_MAX_NAME = 100  # bytes; longer ones need a second header
_BLOCK = 512
_CHUNK = 1_000_000
_KNOWN = re.compile(
    r"sealpress\.toml|state/(salts\.sealed|(api_keys|consents|grants)\.sqlite)|keys/(auditors/)?[\w-][\w.-]*\.pub"
    r"|(state/(policies|declarations|overrides)|answers|duties|timestamps)/[\w-]+\.json"
    r"|journal/(journal\.note|certificates\.notes|journal\.heads|witnessed\.notes|shard-[0-9]{3}\.(log|heads))",
    re.ASCII,
)
# no part of it begins with a dot, and nothing in it moves the cursor of a terminal
_PART = r"[^/\\\x00-\x1f\x7f.][^/\\\x00-\x1f\x7f]*"
_RULE = re.compile(rf"(?!(journal|keys|state|timestamps)/)({_PART}/)*{_PART}")
# a store is opened in memory
_MAX_STORE = (1 << 31) - 1

_Digest = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
_Time = Annotated[int, Meta(ge=0, le=(1 << 63) - 1)]


class Member(Struct, frozen=True, forbid_unknown_fields=True):
    """A file in the backup, by its name below the folder of the box."""

    name: str
    size: Annotated[int, Meta(ge=0)]
    sha256: _Digest


class SealedSalts(Struct, frozen=True, forbid_unknown_fields=True):
    """Until when the salts may be restored (nanoseconds since 1970), and their key as it is sealed to each auditor."""

    expires: _Time
    auditors: Annotated[dict[_Digest, bytes], Meta(min_length=1, max_length=16)]


class Contents(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is in a backup, and of which journal at which time (nanoseconds since 1970)."""

    format: int = FORMAT
    id: Annotated[str, Meta(pattern="^[0-9a-f]{16}$")]
    journal: Annotated[str, Meta(pattern="^[0-9a-f]{32}$")]
    made: _Time
    salts: SealedSalts | None
    members: tuple[Member, ...]


class Part(NamedTuple):
    """What goes into a backup as a member: bytes, or the beginning of a file that only grows."""

    member: Member
    source: bytes | Path

    @classmethod
    def of(cls, name: str, source: bytes | Path, size: int | None = None) -> Part:
        """Raises OSError; JournalError when the file is shorter."""
        digest = hashlib.sha256()
        size = len(source) if isinstance(source, bytes) else size or 0
        for chunk in _chunks(source, size):
            digest.update(chunk)
        return cls(Member(name, size, digest.hexdigest()), source)

    def chunks(self) -> Iterator[bytes]:
        """Raises OSError; JournalError when the file has changed."""
        digest = hashlib.sha256()
        for chunk in _chunks(self.source, self.member.size):
            digest.update(chunk)
            yield chunk
        if digest.hexdigest() != self.member.sha256:
            raise _changed(self.source)


def is_own(name: str) -> bool:
    """Whether a file of this name is one that sealpress keeps and a backup holds."""
    return bool(_KNOWN.fullmatch(name))


def is_rule(name: str) -> bool:
    """Whether a rule file of the user may have this name in a backup."""
    taken = name == _CONTENTS or is_own(name)
    return not taken and bool(_RULE.fullmatch(name)) and len(name.encode(errors="replace")) <= _MAX_NAME


@contextmanager
def write(path: Path, contents: Contents, parts: Sequence[Part], progress: Callable[[int], None]) -> Iterator[str]:
    """Write a backup. The context has its SHA-256; when it ends well, the file takes its name. Raises Failed, OSError.

    `progress` hears how many bytes more were written.
    """
    digest = hashlib.sha256()
    with staged(path) as file:

        def put(data: bytes) -> None:
            file.write(data)
            digest.update(data)

        for part in (Part.of(_CONTENTS, msgspec.json.encode(contents)), *parts):
            put(_header(part.member))
            for chunk in part.chunks():
                put(chunk)
                progress(len(chunk))
            put(_padding(part.member.size))
        put(bytes(2 * _BLOCK))
        yield digest.hexdigest()


class Archive:
    """A backup that is read. What its list says fits the file to the byte; the members are checked one by one."""

    def __init__(self, file: BinaryIO) -> None:
        """Raises BackupError: backup_malformed, backup_format."""
        self._file = file
        self._digest = hashlib.sha256()
        self.contents = self._contents()
        length = self._file.seek(0, 2)
        self._file.seek(self._begin)
        names = [member.name for member in self.contents.members]
        expected = sum(_BLOCK + member.size + len(_padding(member.size)) for member in self.contents.members)
        if length != self._begin + expected + 2 * _BLOCK:
            raise _malformed("it is longer or shorter than it says")
        if len(set(names)) != len(names) or not all(is_own(name) or is_rule(name) for name in names):
            raise _malformed("it lists what belongs into no backup")
        if any(member.name in (SALTS, API_KEYS) and member.size > _MAX_STORE for member in self.contents.members):
            raise _malformed("a store in it is too large")
        if (SALTS in names) != (self.contents.salts is not None):
            raise _malformed("it lists salts that it does not have, or has some that it does not list")

    def members(self) -> Iterator[tuple[Member, Iterator[bytes]]]:
        """Each member, with its content in pieces, which are to be taken before the next member.

        Raises BackupError: backup_malformed, at the end of a member that was altered.
        """
        for member in self.contents.members:
            self._take_header(member)
            yield member, self._content(member)
        if self._take(2 * _BLOCK) != bytes(2 * _BLOCK):
            raise _malformed("it does not end as a tar does")

    @property
    def sha256(self) -> str:
        """Of the file, once all members were read."""
        return self._digest.hexdigest()

    def _contents(self) -> Contents:
        try:
            header = self._take(_BLOCK)
            size = tarfile.TarInfo.frombuf(header, "utf-8", "strict").size
            if size > _MAX_CONTENTS or header != _header(Member(_CONTENTS, size, "")):
                raise ValueError("another header")
            data = self._take(size)
            self._take_padding(size)
            if msgspec.json.decode(data, type=_Versioned).format > FORMAT:
                raise BackupError("backup_format", "the backup was made by a newer version of sealpress")
            found = msgspec.json.decode(data, type=Contents)
            if found.format != FORMAT or msgspec.json.encode(found) != data:
                raise ValueError("another spelling")
        except (tarfile.HeaderError, msgspec.MsgspecError, ValueError):
            raise _malformed("it does not begin with the list of its contents") from None
        self._begin = self._file.tell()
        return found

    def _take_header(self, member: Member) -> None:
        if self._take(_BLOCK) != _header(member):
            raise _malformed(f"{member.name} does not stand where the list says")

    def _content(self, member: Member) -> Iterator[bytes]:
        digest = hashlib.sha256()
        for start in range(0, member.size, _CHUNK):
            chunk = self._take(min(_CHUNK, member.size - start))
            digest.update(chunk)
            yield chunk
        self._take_padding(member.size)
        if digest.hexdigest() != member.sha256:
            raise _malformed(f"{member.name} was altered")

    def _take_padding(self, size: int) -> None:
        padding = _padding(size)
        if self._take(len(padding)) != padding:
            raise _malformed("there is something between its members")

    def _take(self, size: int) -> bytes:
        data = self._file.read(size)
        if len(data) != size:
            raise _malformed("it was cut")
        self._digest.update(data)
        return data


class _Versioned(Struct):
    format: int


def _chunks(source: bytes | Path, size: int) -> Iterator[bytes]:
    if isinstance(source, bytes):
        yield source
        return
    with regular(source) as file:
        while size:
            chunk = file.read(min(_CHUNK, size))
            if not chunk:
                raise _changed(source)
            size -= len(chunk)
            yield chunk


def _header(member: Member) -> bytes:
    """The one header for a member: everything but its name and its size is fixed."""
    info = tarfile.TarInfo(member.name)
    info.size, info.mode = member.size, 0o600
    return info.tobuf(tarfile.GNU_FORMAT, "utf-8", "strict")


def _padding(size: int) -> bytes:
    return bytes(-size % _BLOCK)


def _changed(source: bytes | Path) -> JournalError:
    return JournalError("journal_broken", f"{source!s} was cut or changed while it was copied")


def _malformed(what: str) -> BackupError:
    return BackupError("backup_malformed", f"this is no backup, or not as it was made: {what}")
