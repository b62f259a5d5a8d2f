"""A new box with the pressed MiniLM for each part, so that none depends on the journal that another one left."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.pressed import COMMAND, ROOT, box_with_bundle

__all__ = ["MODEL", "BoxFolder", "made_box"]

MODEL = "all-MiniLM-L6-v2-int8"


class BoxFolder(NamedTuple):
    """A box that trusts its bundle, and the private key of its auditor."""

    path: Path
    bundle: Path
    auditor: Path

    def command(self, *arguments: str | Path) -> Any:
        """What a command prints with --json; raises when it fails."""
        done = subprocess.run(
            [COMMAND, *arguments, "--json"], cwd=self.path, check=False, capture_output=True, text=True
        )
        if done.returncode != 0:
            raise RuntimeError(f"sealpress {arguments[0]} fails: {done.stdout}{done.stderr}")
        return json.loads(done.stdout)


def made_box(name: str) -> BoxFolder:
    """A box in .cache/benchmarks, made anew. Rates are so high that only the queue refuses."""
    folder = ROOT / ".cache" / "benchmarks" / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    box = BoxFolder(folder / "box", folder / "box" / "models" / "minilm.bundle", folder / "box-auditor" / "auditor.key")
    subprocess.run([COMMAND, "init", box.path], check=True, stdout=subprocess.DEVNULL)
    source = box_with_bundle()
    shutil.copytree(source / "minilm.bundle", box.bundle)
    box.command("trust", "add", source / "keys" / "bundle.pub")
    settings = box.path / "sealpress.toml"
    settings.write_text(settings.read_text("utf-8") + "\n[serve]\nrate_per_s = 1000000\nburst = 1000000\n", "utf-8")
    return box
