"""A way to see from outside whether any ONNX Runtime session ran, and a browser."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.browser import PAGE, Browser
from tests.commands import within
from tests.conftest import Shared
from tests.unit.toolkit.compress.conftest import CONFIG, make_tiny

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
def pressed_nc(shared: Shared, pressed: Path) -> Path:
    """The box of `pressed`, copied once a run, with noncommercial.bundle in it: copy it before anything is run there.

    Its licence is what it is for, so it is a small model of the same name whose papers say CC-BY-NC-4.0.
    """

    def make(folder: Path) -> None:
        box = Path(shutil.copytree(pressed, folder / "box"))
        source = make_tiny(folder / "source" / "all-MiniLM-L6-v2", CONFIG)
        papers = source / "README.md"
        papers.write_text(papers.read_text("utf-8").replace("license: mit", "license: cc-by-nc-4.0", 1), "utf-8")
        done = within(box, "compress", source, "--out", "nc.bundle")
        assert done.returncode == 0, done.stderr

    return shared.made("noncommercial", make) / "box"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    command = shutil.which("chromium")
    if command is None:
        pytest.skip("there is no chromium on this machine")
    started = Browser(command, tmp_path_factory.mktemp("chromium"))
    started.open(PAGE.as_uri())
    yield started
    started.close()


@pytest.fixture
def page(browser: Browser) -> Browser:
    """The page as a person finds it: nothing is filled in."""
    browser.open(PAGE.as_uri())
    return browser
