"""A new file is there as a whole, for its owner alone, or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from compliance.disk import staged
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
