"""The zip of evidence where it has more bytes than the oldest numbers of a zip can say; a file with holes holds it."""

from __future__ import annotations

import os
from pathlib import Path
from zipfile import ZipFile, ZipInfo

import pytest

from compliance.verify.archive import DATE, Archive
from compliance.verify.errors import NotVerified

LARGE = 5 * 2**30


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """A log of five gigabytes, none of which is written, and an entry behind it."""
    path = tmp_path / "e.zip"
    log = _info("shard-000.log")
    log.file_size = log.compress_size = LARGE
    log.CRC = log.flag_bits = log.header_offset = 0
    header = log.FileHeader(zip64=True)
    path.write_bytes(header)
    os.truncate(path, len(header) + LARGE)
    with path.open("r+b") as raw, ZipFile(raw, "w") as out:
        # as if the log had been written through it
        out.filelist.append(log)
        out.start_dir = len(header) + LARGE
        out.writestr(_info("evidence.json"), b"{}")
    return path


def test_a_large_file_is_read(large: Path) -> None:
    with Archive(large) as archive:
        assert archive.names == ["shard-000.log", "evidence.json"]
        assert archive.size("shard-000.log") == LARGE
        assert archive.read("evidence.json") == b"{}"


@pytest.mark.parametrize("back", [97, 60, 42, 22, 14, 1])
def test_its_end_has_one_spelling_too(large: Path, back: int) -> None:
    with large.open("r+b") as file:
        file.seek(-back, 2)
        [old] = file.read(1)
        file.seek(-back, 2)
        file.write(bytes([old ^ 1]))
    with pytest.raises(NotVerified, match="evidence"):
        Archive(large)


def test_nothing_stands_behind_it(large: Path) -> None:
    with large.open("ab") as file:
        file.write(b"\0")
    with pytest.raises(NotVerified, match="evidence"):
        Archive(large)


def _info(name: str) -> ZipInfo:
    info = ZipInfo(name, DATE)
    info.create_system, info.external_attr = 3, 0o600 << 16
    return info
