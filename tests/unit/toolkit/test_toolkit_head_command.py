"""sealpress journal head, on a box that is written to."""

from __future__ import annotations

import json
from pathlib import Path

from click.testing import CliRunner

from compliance.verify.note import Note
from compliance.verify.statements import JointHead
from toolkit.box import Box
from toolkit.commands.journal.head import head
from toolkit.new_box import create_box


def test_the_head_covers_what_a_running_process_has_signed(tmp_path: Path) -> None:
    create_box(tmp_path / "box")
    settings = tmp_path / "box" / "sealpress.toml"
    journal = Box.open(settings).journal
    journal.record("read", {}, "clinic")
    journal.checkpoint()
    joints = (tmp_path / "box/journal/journal.heads").read_text()

    def run(*options: str) -> str:
        done = CliRunner().invoke(head, ["--settings", str(settings), *options])
        assert done.exit_code == 0, done.output
        return done.output

    note = json.loads(run("--json"))["head"]
    assert joints.endswith(f"{note}\n")
    assert JointHead.parsed(Note.parsed(note).text).shards[0][0] == 2
    out = tmp_path / "box.head"
    run("--out", str(out))
    assert out.read_text() == note

    again = CliRunner().invoke(head, ["--settings", str(settings), "--out", str(out)])
    assert (again.exit_code, out.read_text()) == (2, note)
    journal.close()
