"""What every test may ask for."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from tests.known import Known
from toolkit.box import Box
from toolkit.bundle import Bundle
from toolkit.plan import planned

ROOT = Path(__file__).resolve().parent.parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files in the order in which two workers end at the same time: `--dist loadfile` hands them out as they come.

    What is long begins early, and the file that comes first makes the box that others wait for. Within a file nothing
    is moved.
    """
    files: dict[Path, list[pytest.Item]] = {}
    for item in items:
        files.setdefault(item.path, []).append(item)
    slow = {test.path for test in items if test.get_closest_marker("slow")}
    boxed = {test.path for test in items if "pressed" in getattr(test, "fixturenames", ())}
    first = min(boxed, key=lambda path: (len(files[path]), path), default=None)

    def place(path: Path) -> int:
        if path == first:
            return 0
        if path in slow:
            return 2 if path in boxed else 1
        return 3 if path in boxed else 4

    items[:] = [test for path in sorted(files, key=place) for test in files[path]]


class Shared:
    """What is made once a run, by the worker that asks first. It is read only: a test that changes it takes a copy."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        self._folder = folder

    def made(self, name: str, make: Callable[[Path], object]) -> Path:
        """The folder with a name, which `make` fills where nobody did so yet. Others wait for it meanwhile."""
        folder, whole = self._folder / name, self._folder / f"{name}.whole"
        with (self._folder / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not whole.exists():
                shutil.rmtree(folder, ignore_errors=True)  # what another worker left half made
                folder.mkdir()
                make(folder)
                whole.touch()
        return folder


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Shared:
    """The folder that all workers of a run have in common."""
    base = tmp_path_factory.getbasetemp()
    return Shared((base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "shared")


@pytest.fixture(scope="session")
def minilm() -> Path:
    """The folder of all-MiniLM-L6-v2 as Hugging Face lays it out; fetched on first use, checked on every use."""
    command = [sys.executable, str(ROOT / "examples" / "models.py"), "--where"]
    return Path(subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip())


@pytest.fixture(scope="session")
def minilm_source(shared: Shared, minilm: Path) -> Known:
    """MiniLM as what is pressed in this process: exported once a run."""
    from toolkit.compress.sources import huggingface

    source = huggingface.read(minilm)
    folder = shared.made("minilm", lambda folder: (folder / "model.onnx").write_bytes(source.load().export()))
    return Known(source, (folder / "model.onnx").read_bytes())


@pytest.fixture(scope="session")
def rampart(shared: Shared) -> Path:
    """A real model that finds personal data, as the folder that examples/rampart.py makes, once a run."""

    def make(folder: Path) -> None:
        command = [sys.executable, str(ROOT / "examples" / "rampart.py"), str(folder / "rampart")]
        subprocess.run(command, check=True, capture_output=True, text=True)

    return shared.made("rampart", make) / "rampart"


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
def pressed(shared: Shared, minilm: Path, sealpress: Run) -> Path:
    """A box in which MiniLM was pressed to minilm.bundle, once a run. Ask for `box` to get a copy of it."""

    def make(folder: Path) -> None:
        box = folder / "box"
        for arguments in (("init", box), ("compress", minilm, "--out", "minilm.bundle")):
            done = sealpress(*arguments, cwd=box if box.exists() else folder)
            assert done.returncode == 0, done.stderr
        # as on a box that has served before: how the model runs best here was measured then
        opened = Box(box / "sealpress.toml")
        with closing(opened.journal):
            bundle = Bundle.read(box / "minilm.bundle", opened.trusted())
            planned(bundle, opened, len(os.sched_getaffinity(0)))

    return shared.made("pressed", make) / "box"


@pytest.fixture
def box(pressed: Path, tmp_path: Path) -> Path:
    """A box of one's own, with minilm.bundle in it and the auditor's key in box-auditor beside it."""
    shutil.copytree(pressed.with_name("box-auditor"), tmp_path / "box-auditor")
    return Path(shutil.copytree(pressed, tmp_path / "box"))
