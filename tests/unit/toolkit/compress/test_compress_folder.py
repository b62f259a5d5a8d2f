"""A folder that somebody brought: the bytes that were hashed are the bytes that are used."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from toolkit.compress.errors import SourceError
from toolkit.compress.sources.folder import Folder


def test_what_was_hashed_is_what_is_read(tmp_path: Path) -> None:
    (tmp_path / "weights").write_bytes(b"as they were")
    file = Folder(tmp_path).hash("weights", 100)
    assert file.sha256 == hashlib.sha256(b"as they were").hexdigest()
    assert file.read() == b"as they were"


def test_a_file_that_was_changed_after_it_was_hashed_is_refused(tmp_path: Path) -> None:
    (tmp_path / "weights").write_bytes(b"as they were")
    file = Folder(tmp_path).hash("weights", 100)
    (tmp_path / "weights").write_bytes(b"as they are.")
    with pytest.raises(SourceError) as caught:
        file.read()
    assert caught.value.code == "source_changed"
    (tmp_path / "weights").unlink()
    with pytest.raises(SourceError) as caught:
        file.read()
    assert caught.value.code == "source_changed"


@pytest.mark.parametrize("limit", [11, 0])
def test_no_more_is_read_than_was_asked_for(tmp_path: Path, limit: int) -> None:
    (tmp_path / "file").write_bytes(b"twelve bytes")
    for read in (Folder(tmp_path).read, Folder(tmp_path).hash):
        with pytest.raises(SourceError) as caught:
            read("file", limit)
        assert caught.value.code == "source_too_large"


def test_a_file_of_just_the_limit_is_read(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"twelve bytes")
    assert Folder(tmp_path).read("file", 12) == b"twelve bytes"


@pytest.mark.parametrize(
    "name", ["../file", "/file", "a//b", ".hidden", "a/../b", "a b", "a\nb", "a\x00", "é", "x" * 201]
)
def test_names_that_are_not_plain_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(SourceError) as caught:
        Folder(tmp_path).has(name)
    assert caught.value.code == "source_external"


def test_a_link_in_a_circle_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(SourceError) as caught:
        Folder(tmp_path).read("a", 10)
    assert caught.value.code in ("source_external", "source_config")


def test_a_link_within_the_folder_is_followed(tmp_path: Path) -> None:
    (tmp_path / "real").write_text("text")
    (tmp_path / "link").symlink_to("real")
    assert Folder(tmp_path).read("link", 10) == b"text"


def test_a_blob_folder_beside_any_other_folder_does_not_count(tmp_path: Path) -> None:
    (tmp_path / "blobs").mkdir()
    (tmp_path / "blobs/1").write_text("text")
    inside = tmp_path / "some" / "model"
    inside.mkdir(parents=True)
    (inside / "link").symlink_to("../../blobs/1")
    with pytest.raises(SourceError) as caught:
        Folder(inside).read("link", 10)
    assert caught.value.code == "source_external"


def test_a_folder_of_very_many_files_is_not_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("toolkit.compress.sources.folder.MAX_ENTRIES", 3)
    for number in range(3):
        (tmp_path / str(number)).touch()
    assert Folder(tmp_path).names() == ["0", "1", "2"]
    (tmp_path / "3").touch()
    with pytest.raises(SourceError) as caught:
        Folder(tmp_path).names()
    assert caught.value.code == "source_too_large"
