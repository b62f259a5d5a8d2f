"""A zip in its one spelling, as evidence comes: entries stored as they are, one behind the other, none twice.

Readers of zip differ in what they make of odd files (two entries of a name, gaps, two lists of the entries that say
different things), so that two verifiers could be shown two contents. What sealpress writes has none of that, and
nothing else is taken: no compression, no comment, no extra fields but those for what is larger than 4 GB, and the
list at the end says of each entry what stands before it. See docs/formats.md, "Evidence".
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any
from zipfile import ZIP_STORED, BadZipFile, ZipFile, ZipInfo

from compliance.verify.errors import NotVerified

__all__ = ["DATE", "MAX_SMALL", "NAME", "Archive", "Part", "canonical", "parsed"]

DATE = (1980, 1, 1, 0, 0, 0)
MAX_ENTRIES = 20_000
MAX_SMALL = 64_000_000  # bytes of an entry that is read as a whole
NAME = re.compile(
    r"evidence\.json|journal\.note|certificates\.notes|joint\.notes|heads\.notes|policy\.proof"
    r"|policies/[0-9a-f]{64}\.json|(grants|declarations)/[0-9a-f]{32}\.json|overrides/[0-9a-f]{16}\.json"
    r"|timestamps/[0-9a-f]{64}\.json|shard-[0-9]{3}\.(log|opened)"
)
_LOCAL, _LISTED = 30, 46  # bytes of the header of an entry, and of its line in the list, without their names
_MADE = (3, 0o600 << 16, 0, 0, 0)  # the system, the rights and the volume of an entry, the same on every machine
_VERSIONS = (20, 45)  # the second for what has larger numbers
_PLAIN = bytes(4) + b"\x00\x00\x21\x00"  # no flags, no compression, and the date
_FAR = 2**31 - 1  # what is larger, or stands behind so many bytes, is said in larger numbers


class Archive:
    """An evidence file, open. Raises NotVerified: evidence_malformed, for whatever is not in its one spelling."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._file = path.open("rb")
        except OSError:
            raise NotVerified.at("evidence", "evidence_malformed") from None
        try:
            self._zip = ZipFile(self._file)
            self._entries = self._checked()
        # zipfile has no error of its own for most of what can be wrong in an archive
        except (BadZipFile, ValueError, NotImplementedError, OSError, EOFError):
            self._file.close()
            raise NotVerified.at("evidence", "evidence_malformed") from None

    def __enter__(self) -> Archive:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._zip.close()
        self._file.close()

    @property
    def names(self) -> list[str]:
        return list(self._entries)

    def size(self, name: str) -> int:
        """Bytes of an entry. Raises NotVerified: evidence_missing."""
        return self._entry(name).file_size

    def open(self, name: str) -> Part:
        """An entry to be read in pieces; nothing but what is signed says that its bytes are right. Raises NotVerified:
        evidence_missing, OSError."""
        entry = self._entry(name)
        return Part(self._path, entry.header_offset + self._local(entry), entry.file_size)

    def read(self, name: str) -> bytes:
        """A small entry as a whole, whose CRC is compared. Raises NotVerified: evidence_missing, evidence_malformed."""
        if self.size(name) > MAX_SMALL:
            raise NotVerified.at(name, "evidence_malformed")
        try:
            with self._zip.open(self._entry(name)) as entry:
                return entry.read()
        except (BadZipFile, OSError, EOFError):
            raise NotVerified.at(name, "evidence_malformed") from None

    def _entry(self, name: str) -> ZipInfo:
        if name not in self._entries:
            raise NotVerified.at(name, "evidence_missing")
        return self._entries[name]

    def _checked(self) -> Mapping[str, ZipInfo]:
        """The entries by name. Raises ValueError, BadZipFile, OSError."""
        found: dict[str, ZipInfo] = {}
        entries = self._zip.infolist()
        if self._zip.comment or len(entries) > MAX_ENTRIES:
            raise ValueError("a comment, or too many entries")
        end = 0
        for entry in entries:
            plain = entry.compress_type == ZIP_STORED and entry.file_size == entry.compress_size
            known = NAME.fullmatch(entry.filename) and entry.filename == entry.orig_filename
            if not plain or not known or entry.filename in found or entry.flag_bits or entry.comment:
                raise ValueError("not as evidence is written")
            made = entry.create_system, entry.external_attr, entry.internal_attr, entry.volume, entry.reserved
            if entry.header_offset != end or entry.date_time != DATE or made != _MADE:
                raise ValueError("not as evidence is written")
            local = self._local(entry)
            # the list says in larger numbers what is large, and where an entry begins that is far behind
            large = [entry.file_size, entry.file_size] * (entry.file_size > _FAR) + [end] * (end > _FAR)
            extra = struct.pack(f"<2H{len(large)}Q", 1, 8 * len(large), *large) if large else b""
            version = _VERSIONS[local > _LOCAL + len(entry.filename) or end > _FAR]
            if (entry.create_version, entry.extract_version, entry.extra) != (version, version, extra):
                raise ValueError("not as evidence is written")
            end += local + entry.file_size
            found[entry.filename] = entry
        listed = sum(_LISTED + len(entry.filename) + len(entry.extra) for entry in entries)
        if end != self._zip.start_dir:
            raise ValueError("something stands between the entries and their list")
        self._file.seek(end + listed)
        tail = _tail(len(entries), listed, end)
        if self._file.read(len(tail) + 1) != tail:
            raise ValueError("something stands behind the list, or it says something else of itself")
        return found

    def _local(self, entry: ZipInfo) -> int:
        """How long the header before an entry is, which must say what the list says."""
        self._file.seek(entry.header_offset)
        header = self._file.read(_LOCAL)
        name = entry.filename.encode()
        extra = int.from_bytes(header[28:30], "little")
        sizes = header[14:18], header[18:22], header[22:26]
        expected = [number.to_bytes(8, "little") for number in (entry.CRC, entry.compress_size, entry.file_size)]
        if header[:6] != b"PK\x03\x04" + bytes((_VERSIONS[extra > 0], 0)) or header[6:14] != _PLAIN:
            raise ValueError("not as evidence is written")
        if (
            extra not in (0, 20)
            or self._file.read(len(name)) != name
            or header[26:28] != len(name).to_bytes(2, "little")
        ):
            raise ValueError("another name")
        if extra == 0 and list(sizes) != [number[:4] for number in expected]:
            raise ValueError("other sizes")
        if extra and self._file.read(20) != b"\x01\x00\x10\x00" + expected[2] + expected[1]:
            raise ValueError("other sizes")
        if extra and sizes != (expected[0][:4], b"\xff" * 4, b"\xff" * 4):
            raise ValueError("other sizes")
        return _LOCAL + len(name) + extra


def _tail(entries: int, listed: int, start: int) -> bytes:
    """What stands behind the list of so many entries, which has so many bytes and starts there."""
    tail = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, entries, entries, listed, min(start, 2**32 - 1), 0)
    if start <= _FAR:
        return tail
    far = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, entries, entries, listed, start)
    return far + struct.pack("<4sLQL", b"PK\x06\x07", 0, start + listed, 1) + tail


class Part:
    """The bytes of an entry in turn. Raises OSError."""

    def __init__(self, path: Path, start: int, size: int) -> None:
        self._left = size
        self._file = path.open("rb")
        self._file.seek(start)

    def __enter__(self) -> Part:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._file.close()

    def read(self, size: int) -> bytes:
        """So many bytes more, fewer where the entry ends."""
        data = self._file.read(min(size, self._left))
        self._left -= len(data)
        return data


def canonical(value: Any) -> bytes:
    """JSON in its one spelling: members in the order of their names, no spaces, whole numbers only, UTF-8."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def parsed(data: bytes) -> Any:
    """What such JSON says. Raises ValueError for any other spelling, which also finds a member that stands twice."""
    try:
        value = json.loads(data.decode(), parse_float=_no_number, parse_constant=_no_number)
        if canonical(value) != data:
            raise ValueError("not in its one spelling")
    except RecursionError:
        raise ValueError("too deep") from None
    return value


def _no_number(text: str) -> Any:
    raise ValueError(f"{text[:20]} is no whole number")
