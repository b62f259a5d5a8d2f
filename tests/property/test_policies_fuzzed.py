"""Rules, schemas, cases, claims and archives that a fuzzer makes, guided by the code that they reach."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RUNS = 6_000
SLOWEST_S = 10


@pytest.mark.skipif(find_spec("atheris") is None, reason="atheris, the fuzzer, is not installed")
def test_no_file_crashes_hangs_or_allows(tmp_path: Path) -> None:
    options = [f"-runs={RUNS}", f"-timeout={SLOWEST_S}", "-rss_limit_mb=2048", "-max_len=8000", "-seed=7"]
    done = subprocess.run(
        [sys.executable, ROOT / "tests" / "fuzz" / "policy_files.py", tmp_path, *options],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "PATH": ""},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3_000:]
    assert f"Done {RUNS} runs" in done.stderr
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(("crash", "timeout", "oom"))] == []
