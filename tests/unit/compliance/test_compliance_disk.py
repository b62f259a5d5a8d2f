"""A new file is there as a whole, for its owner alone, or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from compliance.disk import refuse_unwritable, staged
from policies.errors import Failed


def test_a_file_takes_its_name_when_it_is_whole(tmp_path: Path) -> None:
    new = tmp_path / "new"
    with staged(new) as file:
        file.write(b"whole")
        assert not new.exists()
    assert (new.read_bytes(), new.stat().st_mode & 0o777) == (b"whole", 0o600)
    assert list(tmp_path.iterdir()) == [new]


@pytest.mark.parametrize(
    ("error", "raised"), [(OSError(28, "No space left on device"), Failed), (KeyboardInterrupt(), KeyboardInterrupt)]
)
def test_what_is_not_whole_leaves_nothing(tmp_path: Path, error: BaseException, raised: type[BaseException]) -> None:
    def half() -> None:
        with staged(tmp_path / "new") as file:
            file.write(b"half")
            raise error

    with pytest.raises(raised):
        half()
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_no_folder_is_said(tmp_path: Path) -> None:
    with pytest.raises(Failed, match="was not written"), staged(tmp_path / "nowhere" / "new"):
        pass


def test_where_nothing_can_be_written_is_said_before_the_work(tmp_path: Path) -> None:
    refuse_unwritable(tmp_path / "new" / "page.html")
    refuse_unwritable(tmp_path / "page.html")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").write_bytes(b"")
    for path in (tmp_path / "file" / "page.html", tmp_path):
        with pytest.raises(Failed, match="cannot be written") as caught:
            refuse_unwritable(path)
        assert caught.value.code == "disk"
