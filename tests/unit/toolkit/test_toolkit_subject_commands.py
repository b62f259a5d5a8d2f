"""sealpress subject and journal retain on a real box: dry runs change nothing, and what is printed is what was done."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from click import Command
from click.testing import CliRunner

from compliance.state.disposition import Backup, Disposition
from compliance.state.errors import HoldError
from compliance.state.salts import Salts
from policies.payload import InputError
from toolkit.commands.journal.retain import retain
from toolkit.commands.subject import subject
from toolkit.new_box import create_box
from toolkit.settings import NAME

INFER = ("infer", "search")


@pytest.fixture
def box(tmp_path: Path) -> Path:
    """A box that knows patient-7 in two months long ago."""
    create_box(tmp_path / "box")
    with closing(Salts(tmp_path / "box" / "state" / "salts.sqlite")) as salts:
        for month in ("2024-01", "2024-02"):
            salts.for_call("local", "patient-7", *INFER, month)
    return tmp_path / "box"


def run(box: Path, command: Command, *arguments: str) -> Any:
    """What the command prints with --json; what it raises, it raises here."""
    options = ["--settings", str(box / NAME), "--json"]
    done = CliRunner().invoke(command, [*arguments, *options], catch_exceptions=False, standalone_mode=False)
    if done.exception is not None:
        raise done.exception
    return json.loads(done.output)


def printed(box: Path, command: Command, *arguments: str) -> str:
    return CliRunner().invoke(command, [*arguments, "--settings", str(box / NAME)], catch_exceptions=False).output


def rows(box: Path) -> int:
    with closing(Salts(box / "state" / "salts.sqlite")) as salts:
        return len(salts.rows_of("local", "patient-7"))


ERASE = ("erase", "patient-7", "--ground", "request 12")


def test_a_dry_run_shows_what_would_be_erased_and_changes_nothing(box: Path) -> None:
    shown = run(box, subject, *ERASE, "--dry-run")
    assert (shown["erased"], shown["rows"]) == (False, 2)
    assert [group["month"] for group in shown["groups"]] == ["2024-01", "2024-02"]
    assert "infer, search, 2024-01: 1" in printed(box, subject, *ERASE, "--dry-run")
    assert rows(box) == 2
    assert list((box / "journal").glob("*.log")) == []


def test_an_erasure_says_what_it_did_and_hands_out_its_receipt(box: Path, tmp_path: Path) -> None:
    with Disposition.open(box / "state" / "salts.sqlite") as disposition:
        disposition.backed_up(Backup("weekly", 2 * 10**18, 4 * 10**18))
    assert "backup weekly, until 2096-10-02" in printed(box, subject, *ERASE, "--dry-run")
    out = tmp_path / "erasure.json"
    done = run(box, subject, *ERASE, "--out", str(out))
    assert (done["erased"], done["rows"], rows(box)) == (True, 2, 0)
    assert done["backups"] == [{"id": "weekly", "at": 2 * 10**18, "expires": 4 * 10**18}]
    assert json.loads(out.read_bytes()) == done["receipt"]
    assert [record["record"] for record in done["receipt"]["records"]] == [done["record"]]


def test_a_receipt_never_takes_the_place_of_a_file(box: Path, tmp_path: Path) -> None:
    out = tmp_path / "erasure.json"
    out.write_text("mine")
    for path in (out, tmp_path / "nowhere" / "erasure.json"):
        done = CliRunner().invoke(subject, [*ERASE, "--out", str(path), "--settings", str(box / NAME)])
        assert done.exit_code == 2
    assert out.read_text() == "mine"
    assert rows(box) == 2


def test_an_identifier_has_the_limits_of_a_call(box: Path) -> None:
    for identifier in ("x" * 257, "\udcff"):
        with pytest.raises(InputError):
            run(box, subject, "erase", identifier, "--ground", "asked")


def test_a_hold_keeps_a_person_until_it_is_released(box: Path) -> None:
    held = run(box, subject, "hold", "patient-7", "--ground", "court order")
    hold = held["hold"]
    assert held["rows"] == 2
    with pytest.raises(HoldError, match=hold):
        run(box, subject, *ERASE)
    assert f"hold {hold}" in printed(box, subject, *ERASE, "--dry-run")
    assert run(box, subject, "release", hold) == {"released": hold}
    assert run(box, subject, *ERASE)["rows"] == 2


@pytest.mark.parametrize("scope", [[], [""], ["--month", "2024-1"], ["--month", "2024-13"]])
def test_a_hold_is_on_something(box: Path, scope: list[str]) -> None:
    done = CliRunner().invoke(subject, ["hold", *scope, "--ground", "court order", "--settings", str(box / NAME)])
    assert done.exit_code == 2
    with Disposition.open(box / "state" / "salts.sqlite") as disposition:
        assert disposition.holds() == ()


def test_retention_shows_first_and_then_does_it(box: Path) -> None:
    hold = run(box, subject, "hold", "--month", "2024-02", "--ground", "court order")["hold"]
    expected = [
        {"class": "infer", "purpose": "search", "month": "2024-01", "rows": 1, "held": 0},
        {"class": "infer", "purpose": "search", "month": "2024-02", "rows": 0, "held": 1},
    ]
    shown = run(box, retain)
    assert (shown["applied"], shown["rows"], shown["groups"]) == (False, 1, expected)
    assert [one["id"] for one in shown["holds"]] == [hold]
    assert "Nothing was changed: --apply does it." in printed(box, retain)
    assert rows(box) == 2
    done = run(box, retain, "--apply")
    assert (done["applied"], done["rows"], done["groups"]) == (True, 1, expected)
    assert rows(box) == 1
