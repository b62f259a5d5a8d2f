"""What the tests of the journal may ask for."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.journals import JournalBox

Script = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def book(tmp_path: Path) -> JournalBox:
    """A box with an empty journal."""
    return JournalBox.make(tmp_path / "box")


@pytest.fixture
def script() -> Script:
    """Start Python in a process of its own: `script(source, argument, ...)`; its output is a pipe of text."""

    def start(source: str, *arguments: str | Path) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-W", "error", "-c", source, *map(str, arguments)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return start
