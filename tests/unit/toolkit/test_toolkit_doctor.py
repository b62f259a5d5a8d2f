"""What the doctor finds in boxes that are well, new or broken, and that it changes nothing."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner

from compliance.crypto import Opener, Signer
from compliance.journal.erasure import erase
from compliance.keys import read_key, to_text, write_key
from compliance.state.disposition import Disposition, Scope
from compliance.state.errors import StateError
from compliance.verify.note import DAY, Note, signed
from compliance.verify.statements import JointHead, day_of
from tests.declaring import declaration, declaring_box
from tests.journals import DONE, notes_of, opened, whole_call
from toolkit.backup import back_up
from toolkit.box import Box
from toolkit.box_keys import day_keys
from toolkit.commands.doctor import doctor
from toolkit.doctor import Finding, examine
from toolkit.new_box import create_box
from toolkit.settings import NAME, read_settings

DAY_NS = 86_400 * 10**9


def write(folder: Path) -> None:
    with closing(Box.open(folder / NAME).journal) as journal:
        journal.closed(opened(journal, subject="patient-7"), DONE)


@pytest.fixture
def box(tmp_path: Path) -> Path:
    """A box with a call, whose private keys were moved away."""
    apart = create_box(tmp_path / "box")
    shutil.rmtree(apart.auditor.parent)
    shutil.rmtree(apart.root.parent)
    write(tmp_path / "box")
    return tmp_path / "box"


def found(box: Path, state: str) -> dict[str, str]:
    """The findings in this state: their names, and what is said."""
    return {finding.name: finding.text for finding in examine(box / NAME) if finding.state == state}


def well(box: Path) -> None:
    write_key(box / "keys" / "auditors" / "second.pub", "auditor-public", Opener.generate().public)
    whole = Box.open(box / NAME)
    with closing(whole.journal):
        back_up(whole, box.parent / "box.tar", 3, lambda _: None)


def test_of_a_box_that_is_well_there_is_little_to_say(box: Path) -> None:
    well(box)
    assert found(box, "error") == {}
    # what a test cannot change: that there is no witness, and how this machine keeps its memory
    assert found(box, "warning").keys() - {"memory"} == {"witness"}
    assert {"settings", "signing keys", "journal", "clock", "salts", "backup", "disk", "permissions"} <= found(
        box, "ok"
    ).keys()


def test_a_new_box_is_told_to_move_its_keys_away(tmp_path: Path) -> None:
    create_box(tmp_path / "box")
    assert found(tmp_path / "box", "error") == {}
    warnings = [finding for finding in examine(tmp_path / "box" / NAME) if finding.state == "warning"]
    assert sum(finding.name == "private keys" for finding in warnings) == 2
    assert {"auditors", "backup", "witness"} < {finding.name for finding in warnings}
    assert all(finding.hint for finding in warnings)


def test_the_doctor_changes_nothing_while_the_box_is_in_use(box: Path) -> None:
    def contents() -> dict[Path, bytes]:
        files = (path for path in box.rglob("*") if path.is_file() and not path.name.endswith(("-wal", "-shm")))
        return {path: path.read_bytes() for path in files}

    with closing(Box.open(box / NAME).journal) as journal:
        whole_call(journal)
        journal.checkpoint()
        before = contents()
        assert found(box, "error") == {}
        assert contents() == before
    before = contents()
    examine(box / NAME)
    assert contents() == before


def malformed(box: Path) -> None:
    (box / NAME).write_text("format = ")


def no_policy(box: Path) -> None:
    (box / NAME).write_text((box / NAME).read_text().replace("rules = []", 'rules = ["none.cedar"]'))


def keyless(box: Path) -> None:
    shutil.rmtree(box / "keys" / "days")


def without_auditors(box: Path) -> None:
    shutil.rmtree(box / "keys" / "auditors")


def without_journal(box: Path) -> None:
    shutil.rmtree(box / "journal")


def cut(box: Path) -> None:
    log = box / "journal" / "shard-000.log"
    log.write_bytes(log.read_bytes()[:-1])


def without_heads(box: Path) -> None:
    (box / "journal" / "shard-000.heads").unlink()


def forged_head(box: Path) -> None:
    heads = box / "journal" / "shard-000.heads"
    heads.write_bytes(heads.read_bytes().replace(b"\nallowed 1\n", b"\nallowed 2\n"))


def clock_set_back(box: Path) -> None:
    """A head of tomorrow, as if the clock had been there."""
    keys, tomorrow = day_keys(box, read_settings(box / NAME)), time.time_ns() + 86_400 * 10**9
    path = next(keys.folder.glob(f"{day_of(time.time_ns()) + timedelta(1)}-*.key"))
    joints = box / "journal" / "journal.heads"
    last = JointHead.parsed(Note.parsed(notes_of(joints)[-1][:-1]).text)
    late = signed(JointHead(last.id, tomorrow, last.shards).text(), DAY, Signer(read_key(path, "journal-signing")))
    joints.write_text(f"{joints.read_text()}{late}\n")


def stateless(box: Path) -> None:
    shutil.rmtree(box / "state")


def old_state(box: Path) -> None:
    """As an old copy of the folder, put back, would be."""
    state = box / "state"
    shutil.copytree(state, box / "old")
    with Disposition.open(state / "salts.sqlite") as disposition, closing(Box.open(box / NAME).journal) as journal:
        erase(journal, disposition, "clinic", "patient-7", "asked")
    shutil.rmtree(state)
    (box / "old").rename(state)


def readable(box: Path) -> None:
    (box / "state").chmod(0o755)
    (box / "state" / "salts.sqlite").chmod(0o644)


def full_of_auditors(box: Path) -> None:
    for number in range(16):
        write_key(box / "keys" / "auditors" / f"{number}.pub", "auditor-public", Opener.generate().public)


BROKEN: list[tuple[Callable[[Path], None], str]] = [
    (malformed, "settings"),
    (no_policy, "settings"),
    (keyless, "signing keys"),
    (without_auditors, "auditors"),
    (full_of_auditors, "auditors"),
    (without_journal, "signing keys"),
    (cut, "journal"),
    (without_heads, "journal"),
    (forged_head, "journal"),
    (clock_set_back, "clock"),
    (stateless, "salts"),
    (old_state, "salts"),
    (readable, "permissions"),
]


@pytest.mark.parametrize(("breaking", "name"), BROKEN, ids=lambda value: getattr(value, "__name__", None))
def test_what_is_broken_is_an_error_and_the_rest_is_looked_at(
    box: Path, breaking: Callable[[Path], None], name: str
) -> None:
    breaking(box)
    errors = found(box, "error")
    assert name in errors, errors
    assert len(errors) <= 3, errors
    assert "disk" in found(box, "ok")
    done = CliRunner().invoke(doctor, ["--settings", str(box / NAME), "--json"])
    assert done.exit_code == 1
    value = json.loads(done.output)
    assert not value["ok"]
    assert errors.keys() <= {finding["name"] for finding in value["findings"] if finding["hint"]}


def test_what_a_crash_left_is_no_error(box: Path) -> None:
    with (box / "journal" / "shard-000.log").open("ab") as log:
        log.write(b"torn")
    assert "4 bytes of shard-000" in found(box, "warning")["journal"]
    write(box)
    assert "journal" not in found(box, "warning")


def test_an_act_that_was_not_told_is_seen_until_it_is(box: Path) -> None:
    with Disposition.open(box / "state" / "salts.sqlite") as disposition:
        disposition.hold("clinic", Scope(subject="patient-7"), "court", time.time_ns())
    assert "1 acts" in found(box, "warning")["salts"]
    with (
        Disposition.open(box / "state" / "salts.sqlite") as disposition,
        closing(Box.open(box / NAME).journal) as journal,
    ):
        erase(journal, disposition, "clinic", "patient-8", "asked")
    assert "salts" not in found(box, "warning")


def test_a_witness_that_has_not_signed_is_missed(box: Path) -> None:
    with (box / NAME).open("a") as settings:
        settings.write(f'\n[witness]\nkey = "{to_text(Signer.generate().public)}"\n')
    assert "not co-signed" in found(box, "warning")["witness"]


@pytest.mark.parametrize(("share", "state"), [(10**-9, "ok"), (1.0, "warning")])
def test_the_disk_is_forecast_from_the_growth_of_the_logs(box: Path, share: float, state: str) -> None:
    """Heads of two days, in which a part of what is free now was written."""
    now, free = time.time_ns(), shutil.disk_usage(box).free
    head = "\nat {}\nbytes {}\n"
    grown = head.format(now - 2 * 86_400 * 10**9, 0) + head.format(now, int(free * share))
    (box / "journal" / "shard-000.heads").write_text(grown)
    disk = next(finding for finding in examine(box / NAME) if finding.name == "disk")
    assert disk.state == state
    assert "at the present growth" in disk.text


def test_a_damaged_table_of_salts_is_an_error_of_its_own(box: Path) -> None:
    (box / "state" / "salts.sqlite").write_bytes(b"no database" * 100)
    assert found(box, "error").keys() == {"salts"}
    next((box / "state").glob("salts-*.key")).unlink()
    hints = StateError.hints.values()
    assert [finding.hint in hints for finding in examine(box / NAME) if finding.name == "salts"] == [True]


def test_a_finding_is_shown_with_its_hint(box: Path) -> None:
    shown = CliRunner().invoke(doctor, ["--settings", str(box / NAME)])
    assert shown.exit_code == 0
    one = Finding("witness", "warning", "none: nobody else would see that the box was rolled back")
    assert f"warning  {one.name}: {one.text}\n         Set up a witness" in shown.output


def test_a_declaration_that_is_over_or_soon_will_be_is_a_warning(tmp_path: Path) -> None:
    box = declaring_box(tmp_path, "MIT")
    box.journal.close()

    def found() -> list[tuple[str, str]]:
        return [(one.state, one.text) for one in examine(box.path) if one.name == "declaration"]

    assert found() == []
    now = time.time_ns()
    for days, state, text in ((300, "ok", "299 more days"), (3, "warning", "2 more days"), (0, "warning", "(over)")):
        signed = declaration(box.journal.id, now - DAY_NS, users=5, ends=now + days * DAY_NS - 1)
        box.declarations.take(signed)
        ((was, told),) = found()
        assert was == state
        assert text in told
