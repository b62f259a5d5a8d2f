"""What every test may ask for."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from toolkit.box import Box
from toolkit.bundle import Bundle
from toolkit.plan import planned

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def minilm() -> Path:
    """The folder of all-MiniLM-L6-v2 as Hugging Face lays it out; fetched on first use, checked on every use."""
    command = [sys.executable, str(ROOT / "examples" / "models.py"), "--where"]
    return Path(subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip())


@pytest.fixture(scope="session")
def rampart(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real model that finds personal data, as the Hugging Face directory that examples/rampart.py makes."""
    folder = tmp_path_factory.mktemp("rampart") / "rampart"
    command = [sys.executable, str(ROOT / "examples" / "rampart.py"), str(folder)]
    subprocess.run(command, check=True, capture_output=True, text=True)
    return folder


Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def sealpress() -> Run:
    """Run the command in a folder, as a person would: `sealpress("run", ..., cwd=box)`."""
    command = Path(sys.executable).with_name("sealpress")

    def run(*arguments: str | Path, cwd: Path, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [command, *arguments],
            cwd=cwd,
            env={**os.environ, **(env or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )

    return run


@pytest.fixture(scope="session")
def pressed(tmp_path_factory: pytest.TempPathFactory, minilm: Path, sealpress: Run) -> Path:
    """A box in which MiniLM was pressed to minilm.bundle, once a session. Ask for `box` to get a copy of it."""
    box = tmp_path_factory.mktemp("pressed") / "box"
    for arguments in (("init", box), ("compress", minilm, "--out", "minilm.bundle")):
        done = sealpress(*arguments, cwd=box if box.exists() else box.parent)
        assert done.returncode == 0, done.stderr
    # as on a box that has served before: how the model runs best here was measured then
    opened = Box(box / "sealpress.toml")
    with closing(opened.journal):
        planned(Bundle.read(box / "minilm.bundle", opened.trusted()), opened, len(os.sched_getaffinity(0)))
    return box


@pytest.fixture
def box(pressed: Path, tmp_path: Path) -> Path:
    """A box of one's own, with minilm.bundle in it and the auditor's key in box-auditor beside it."""
    shutil.copytree(pressed.with_name("box-auditor"), tmp_path / "box-auditor")
    return Path(shutil.copytree(pressed, tmp_path / "box"))
