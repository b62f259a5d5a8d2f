"""The command in this process, for what it says and does where the process is not what is tested.

A process of its own loads torch and transformers first, which takes longer than to press a small model.
"""

from __future__ import annotations

import subprocess
from contextlib import chdir, redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path

import pytest

import sealpress

__all__ = ["within"]


def within(folder: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """`within(box, "compress", ...)`: what the command gives in a folder, as the fixture `sealpress` would."""
    said, told, given = StringIO(), StringIO(), [str(argument) for argument in arguments]
    with chdir(folder), redirect_stdout(said), redirect_stderr(told), pytest.raises(SystemExit) as ended:
        sealpress.main(given)
    return subprocess.CompletedProcess(given, int(ended.value.code or 0), said.getvalue(), told.getvalue())
