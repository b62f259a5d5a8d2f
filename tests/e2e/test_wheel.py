"""The built wheel in an empty environment: what somebody gets who installs it without any extra."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CALL = """
import importlib.util, sealpress
for name in ("torch", "onnx", "transformers", "litestar", "jinja2"):
    assert importlib.util.find_spec(name) is None, name
print(sealpress.__file__)
print(sealpress.load("minilm.bundle").embed(["Where is the ward?"], purpose="search").shape)
"""


@pytest.mark.slow
def test_the_wheel_alone(box: Path, minilm: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def run(*command: str | Path, cwd: Path = tmp_path) -> str:
        # a Python path from outside would bring the checkout into the empty environment
        clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        done = subprocess.run(command, cwd=cwd, env=clean, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", tmp_path, ROOT)
    (wheel,) = tmp_path.glob("sealpress-*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.partition("/")[0] for name in names if ".dist-info" not in name} == {
        "sealpress.py", "policies", "compliance", "toolkit", "serve",
    }  # fmt: skip
    assert "policies/packs/base/policy.cedar" in names
    python = tmp_path / "empty" / "bin" / "python"
    run(sys.executable, "-m", "venv", tmp_path / "empty")
    run(python, "-m", "pip", "install", "--quiet", "--constraint", ROOT / "constraints.txt", wheel)
    command = python.with_name("sealpress")
    assert "compress" in run(command, "--help")
    where, shape = run(python, "-c", CALL, cwd=box).splitlines()
    assert where.startswith(str(tmp_path / "empty"))
    assert shape == "(1, 384)"
    missing = subprocess.run(
        [command, "compress", minilm, "--out", "x.bundle", "--json"],
        cwd=box,
        capture_output=True,
        text=True,
        check=False,
    )
    assert missing.returncode == 2
    assert '"extra_missing"' in missing.stdout
    assert not (box / "x.bundle").exists()
    installed = sum(path.stat().st_size for path in (tmp_path / "empty").rglob("*") if path.is_file())
    size = f"the wheel has {wheel.stat().st_size / 1e3:.0f} kB; with what it needs {installed / 1e6:.0f} MB"
    with capsys.disabled():
        sys.stdout.write(f"\n{size}\n")
