"""The README's own words, run as they stand and in their order."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_the_blocks_run(minilm: Path, tmp_path: Path) -> None:
    (tmp_path / "all-MiniLM-L6-v2").symlink_to(minilm)
    blocks = re.findall(r"```(bash|python)\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), re.DOTALL)
    assert [kind for kind, _ in blocks] == ["bash", "python", "bash", "bash", "bash"]
    script = ["set -euo pipefail"]
    for number, (kind, block) in enumerate(blocks):
        if kind == "python":
            (tmp_path / f"block{number}.py").write_text(block, "utf-8")
        script.append(block if kind == "bash" else f"python3 ../block{number}.py")
    done = subprocess.run(
        ["bash", "-c", "\n".join(script)],
        cwd=tmp_path,
        env={**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for expected in (
        "times smaller",
        "1 embeddings of 384 numbers",
        "refused: no purpose was stated",
        "(2, 384)",
        "['privacy.basis']",
        '"embedding"',
        '"ok":true',
    ):
        assert expected in done.stdout, expected
    assert (tmp_path / "my-box" / "report" / "report.html").is_file()
