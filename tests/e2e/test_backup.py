"""A box is backed up while another process writes to it, lost, restored elsewhere, read, and used again."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from contextlib import chdir, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from tests.journals import CHECKOUT
from toolkit.cli import main

# records until it is killed, and says when it has begun
WRITE = """
import itertools, sys
from toolkit.box import Box
box = Box.open(sys.argv[1])
for number in itertools.count():
    box.journal.record("read", {"number": number}, "clinic")
    if number == 100:
        box.journal.checkpoint()
        print("begun", flush=True)
"""


def command(folder: Path, *arguments: str | Path, status: int = 0) -> Any:
    """What `sealpress ... --json` prints, run in a folder. Here, since most of a process would be its imports."""
    printed = StringIO()
    with chdir(folder), redirect_stdout(printed), pytest.raises(SystemExit) as end:
        main([*map(str, arguments), "--json"])
    assert end.value.code == status, printed.getvalue()
    return json.loads(printed.getvalue())


def numbers(read: Any) -> list[int]:
    """What WRITE recorded, as it is read."""
    data = (record["metadata"]["data"] for record in read["records"])
    return [one["number"] for one in data if "number" in one]


def test_a_box_in_use_is_backed_up_lost_and_restored(tmp_path: Path) -> None:
    box, new, backup = tmp_path / "box", tmp_path / "new", tmp_path / "box.tar"
    auditor, root = tmp_path / "box-auditor/auditor.key", tmp_path / "box-root/root.key"
    command(tmp_path, "init", box)
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITE, box / "sealpress.toml"], cwd=CHECKOUT, stdout=subprocess.PIPE, text=True
    )
    try:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "begun\n"
        made = command(box, "backup", "--out", backup, "--salts-days", "3")
        command(box, "journal", "head", "--out", tmp_path / "box.head")
        assert writer.poll() is None
    finally:
        writer.kill()
        writer.communicate()
    shutil.rmtree(box)

    restored = command(tmp_path, "restore", backup, new, "--auditor-key", auditor)
    assert restored["records"] > 100
    assert restored["sha256"] == made["sha256"]
    ailing = command(new, "doctor", status=1)["findings"]
    assert [one["name"] for one in ailing if one["state"] == "error"] == ["signing keys"]

    assert command(new, "keys", "renew", "--root", root)["days_left"] == 31
    command(new, "doctor")
    read = command(new, "journal", "read", "--auditor-key", auditor)
    assert numbers(read) == list(range(len(numbers(read))))
    assert len(numbers(read)) > 100
    assert command(new, "journal", "verify")["ok"]
    lost = command(new, "journal", "verify", "--head", tmp_path / "box.head", status=1)
    assert {failure["code"] for failure in lost["failures"]} == {"given_missing"}


def test_a_backup_needs_a_choice_and_a_place_of_its_own(tmp_path: Path) -> None:
    box, backup = tmp_path / "box", tmp_path / "box.tar"
    command(tmp_path, "init", box)
    command(box, "backup", "--out", backup)
    command(box, "backup", "--out", backup, status=2)
    command(tmp_path, "restore", backup, tmp_path / "new", status=2)
    command(tmp_path, "restore", backup, box, "--without-salts", status=2)
    command(tmp_path, "restore", backup, tmp_path / "new", "--without-salts")
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o700
    assert not list(tmp_path.glob(".*"))
