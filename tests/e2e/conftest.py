"""A way to see from outside whether any ONNX Runtime session ran."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

# wraps the real call and counts it; nothing is replaced
_SITE = """
import atexit, os, sys
from importlib.abc import MetaPathFinder

class Finder(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name != "onnxruntime":
            return None
        sys.meta_path.remove(self)
        import onnxruntime
        run = onnxruntime.InferenceSession.run
        def counted(*arguments, **options):
            with open(os.environ["RUNS"], "a") as file:
                file.write("run\\n")
            return run(*arguments, **options)
        onnxruntime.InferenceSession.run = counted
        return onnxruntime.__spec__

sys.meta_path.insert(0, Finder())
"""


class Spy:
    """Give `env` to a subprocess, then ask how many sessions ran in it."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        (folder / "sitecustomize.py").write_text(_SITE)
        self._log = folder / "runs"
        self.env = {"PYTHONPATH": str(folder), "RUNS": str(self._log)}

    def runs(self) -> int:
        return self._log.read_text().count("run") if self._log.exists() else 0


@pytest.fixture
def spy(tmp_path: Path) -> Spy:
    return Spy(tmp_path / "spy")


@pytest.fixture(scope="session")
def noncommercial(tmp_path_factory: pytest.TempPathFactory, minilm: Path) -> Path:
    """A copy of MiniLM whose papers say CC-BY-NC-4.0."""
    folder = tmp_path_factory.mktemp("source") / minilm.name
    shutil.copytree(minilm, folder, copy_function=os.link)
    papers = folder / "README.md"
    text = papers.read_text("utf-8")
    papers.unlink()
    papers.write_text(text.replace("license: apache-2.0", "license: cc-by-nc-4.0", 1), "utf-8")
    return folder


@pytest.fixture(scope="session")
def pressed_nc(
    tmp_path_factory: pytest.TempPathFactory, pressed: Path, noncommercial: Path, sealpress: Callable[..., object]
) -> Path:
    """The box of `pressed`, copied, with noncommercial.bundle in it."""
    box = tmp_path_factory.mktemp("nc") / "box"
    shutil.copytree(pressed, box)
    done = sealpress("compress", noncommercial, "--out", "nc.bundle", cwd=box)
    assert done.returncode == 0, done.stderr  # type: ignore[attr-defined] # the protocol of Run is in conftest
    return box
