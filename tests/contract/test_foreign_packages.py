"""A folder of the user's own that is named like one of our packages and would be imported in its place."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("name", ["policies", "compliance", "toolkit", "serve"])
def test_a_foreign_package_is_refused_by_name(tmp_path: Path, name: str) -> None:
    foreign = tmp_path / name
    foreign.mkdir()
    (foreign / "__init__.py").write_text("raise RuntimeError('the foreign package ran')\n", encoding="utf-8")

    result = import_sealpress(tmp_path)

    assert result.returncode == 1
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith("ImportError: ")
    assert str(foreign) in last
    assert "rename" in last.lower()
    assert "the foreign package ran" not in result.stderr


def test_an_empty_folder_beside_is_no_trouble(tmp_path: Path) -> None:
    assert import_sealpress(tmp_path).returncode == 0


def import_sealpress(folder: Path) -> subprocess.CompletedProcess[str]:
    """What a user gets who runs Python in `folder`, which Python then searches before everything else."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", "import sealpress"]
    return subprocess.run(command, cwd=folder, env=environment, check=False, capture_output=True, text=True)
