"""One box with one pressed bundle, shared by the benchmarks that need a model; kept in .cache between runs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

__all__ = ["COMMAND", "box_with_bundle", "source"]

ROOT = Path(__file__).resolve().parent.parent
COMMAND = Path(sys.executable).with_name("sealpress")


def source() -> Path:
    """The folder of all-MiniLM-L6-v2."""
    where = [sys.executable, str(ROOT / "examples" / "models.py"), "--where"]
    return Path(subprocess.run(where, check=True, capture_output=True, text=True).stdout.strip())


def box_with_bundle() -> Path:
    box = ROOT / ".cache" / "benchmarks" / "box"
    if not box.exists():
        subprocess.run([COMMAND, "init", box], check=True)
    if not (box / "minilm.bundle").exists():
        subprocess.run([COMMAND, "compress", source(), "--out", "minilm.bundle"], cwd=box, check=True)
    return box
