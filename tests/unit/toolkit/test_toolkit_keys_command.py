"""sealpress keys: the ceremonies as a person goes through them, with and without the root at hand."""

from __future__ import annotations

import json
import time
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from compliance.crypto import Opener, Signer
from compliance.journal.reader import read
from compliance.journal.records import Noted
from compliance.keys import KeyFault, read_key, write_key
from compliance.state.salts import Salts
from compliance.verify.journal import verify_journal
from compliance.verify.statements import day_of
from toolkit.box import Box
from toolkit.box_keys import auditors, day_keys
from toolkit.commands.keys import keys
from toolkit.new_box import create_box
from toolkit.settings import read_settings


@pytest.fixture
def box(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    create_box(tmp_path / "box")
    monkeypatch.setenv("SEALPRESS_SETTINGS", str(tmp_path / "box" / "sealpress.toml"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "box"


def run(*arguments: str | Path) -> dict[str, Any]:
    """What a command says as JSON; as text it says something too, where it changes nothing."""
    done = CliRunner().invoke(keys, [*map(str, arguments), "--json"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    value: dict[str, Any] = json.loads(done.output)
    return value


def text(*arguments: str | Path) -> str:
    done = CliRunner().invoke(keys, list(map(str, arguments)), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def refused(*arguments: str | Path) -> str:
    with pytest.raises(KeyFault) as caught:
        CliRunner().invoke(keys, list(map(str, arguments)), catch_exceptions=False)
    return caught.value.code


def lose_days(box: Path, count: int) -> None:
    """Take away the keys of the last days, as if time had passed."""
    for path in sorted((box / "keys" / "days").iterdir())[-count:]:
        path.unlink()


def test_a_new_box_shows_its_keys(box: Path) -> None:
    shown = run("show")
    settings = read_settings(box / "sealpress.toml")
    assert shown["root"] == settings.journal.root
    assert (shown["days_left"], {day["state"] for day in shown["days"]}) == (31, {"ready"})
    assert shown["auditors"] == [sealer.fingerprint.hex() for sealer in auditors(box).sealers()]
    assert [Path(path).name for path in shown["exposed"]] == ["auditor.key", "root.key"]
    lines = text("show")
    for part in (shown["root"], shown["fingerprint"], *shown["auditors"], *shown["exposed"], "Days left:  31"):
        assert part in lines


def test_keys_are_renewed_where_the_root_is_at_hand(box: Path) -> None:
    lose_days(box, 10)
    assert run("show")["days_left"] == 21
    assert run("renew", "--root", "box-root/root.key", "--days", "25")["days_left"] == 25
    renewed = run("renew", "--root", "box-root/root.key")
    assert (len(renewed["certified"]), renewed["days_left"]) == (6, 31)
    assert verify_journal(box / "journal", day_keys(box, read_settings(box / "sealpress.toml")).root).records == 0
    assert run("renew", "--root", "box-root/root.key")["certified"] == []


def test_keys_are_renewed_where_the_root_is_kept_elsewhere(
    box: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lose_days(box, 10)
    asked = run("request", "--out", "request")
    monkeypatch.setenv("SEALPRESS_SETTINGS", str(tmp_path / "no box here"))
    monkeypatch.setenv("ROOT", (tmp_path / "box-root" / "root.key").read_text())
    assert run("certify", "request", "--root", "env:ROOT") == {**asked, "certified": False}
    assert asked["request"] in text("certify", "request", "--root", "env:ROOT", "--out", "certificates")
    monkeypatch.setenv("SEALPRESS_SETTINGS", str(box / "sealpress.toml"))
    installed = run("install", "certificates")
    assert installed["certified"] == [day["day"] for day in asked["days"]]
    assert run("show")["days_left"] == 31
    assert run("request", "--out", "nothing to ask") == {"days": []}
    assert not (tmp_path / "nothing to ask").exists()


def test_nothing_is_overwritten(box: Path, tmp_path: Path) -> None:
    lose_days(box, 1)
    (tmp_path / "precious").write_text("mine")
    root = ("--root", "box-root/root.key")
    run("request", "--out", "request")
    for command in (
        ("request", "--out", "precious"),
        ("certify", "request", *root, "--out", "precious"),
        ("revoke", "all", *root, "--out", "precious"),
    ):
        with pytest.raises(FileExistsError):
            CliRunner().invoke(keys, command, catch_exceptions=False)
    assert refused("auditor", "create", "precious") == "key_exists"
    assert (tmp_path / "precious").read_text() == "mine"
    assert not (tmp_path / "precious.pub").exists()
    assert run("show")["days_left"] == 30


def test_the_root_of_another_box_is_refused(box: Path, tmp_path: Path) -> None:
    write_key(tmp_path / "other.key", "journal-root", Signer.generate().private_bytes())
    assert refused("renew", "--root", "other.key") == "root_foreign"
    assert refused("revoke", "all", "--root", "other.key") == "root_foreign"
    assert refused("renew", "--root", box / "keys" / "bundle.key") == "key_kind"


def test_a_stolen_key_is_revoked_and_replaced(box: Path, tmp_path: Path) -> None:
    today = str(day_of(time.time_ns()))
    root = ("--root", "box-root/root.key")
    would = run("revoke", today, *root, "--dry-run")
    assert (would["notes"], run("show")["days_left"]) == ([], 31)
    done = run("revoke", today, *root, "--out", "revocation")
    assert done["revoked"] == would["revoked"]
    assert (tmp_path / "revocation").read_text("utf-8") == done["notes"][0] + "\n"
    assert run("show")["days"][0] | {"state": "revoked"} == run("show")["days"][0]
    assert run("show")["days_left"] == 0
    assert run("renew", *root)["certified"] == [today]
    assert run("show")["days_left"] == 31


def test_keys_are_named_by_day_fingerprint_or_all(box: Path) -> None:
    days = run("show")["days"]
    root = ("--root", "box-root/root.key", "--dry-run")
    one = [{"day": days[3]["day"], "key": days[3]["key"]}]
    named = (days[3]["day"], days[3]["key"][:8], days[3]["key"].upper())
    for name in named:
        assert run("revoke", name, *root)["revoked"] == one
    assert run("revoke", *named, *root)["revoked"] == one
    assert len(run("revoke", "all", *root)["revoked"]) == 31
    after = str(day_of(time.time_ns()) + timedelta(2))
    assert len(run("revoke", "all", "--since", after, *root)["revoked"]) == 29
    for unknown in ("2020-01-01", days[3]["key"][:7], "", "ALL"):
        assert refused("revoke", unknown, *root) == "day_key_unknown"


@pytest.mark.parametrize(
    ("since", "expected"),
    [
        ("1970-01-02", 86_400 * 10**9),
        ("1970-01-01T00:00:00.000001+00:00", 1_000),
        ("1970-01-01T02:00+01:00", 3600 * 10**9),
        ("1969-01-01", 0),
    ],
)
def test_a_time_is_in_utc_unless_it_says_otherwise(box: Path, since: str, expected: int) -> None:
    assert run("revoke", "all", "--root", "box-root/root.key", "--dry-run", "--since", since)["since"] == expected


def test_what_is_no_time_is_refused(box: Path) -> None:
    done = CliRunner().invoke(keys, ["revoke", "all", "--root", "box-root/root.key", "--since", "noon"])
    assert done.exit_code == 2
    assert "--since" in done.output


def test_the_keys_of_a_box_that_is_gone_are_revoked(box: Path, tmp_path: Path) -> None:
    box.rename(tmp_path / "stolen")
    done = run("revoke", "all", "--root", "box-root/root.key", "--certificates", "box-root/certificates.notes")
    assert len(done["notes"]) == len(done["revoked"]) == 31


def test_auditors_are_added_and_retired_and_the_journal_tells(box: Path, tmp_path: Path) -> None:
    (first,) = run("show")["auditors"]
    assert refused("auditor", "retire", first) == "auditor_last"
    made = run("auditor", "create", "second.key")
    assert (tmp_path / "second.key").stat().st_mode & 0o777 == 0o600
    added = run("auditor", "add", "second.key.pub")
    both = sorted([first, made["fingerprint"]])
    assert added == {"added": made["fingerprint"], "auditors": both}
    assert run("auditor", "add", "second.key.pub") == added
    assert run("show")["auditors"] == both
    would = run("auditor", "retire", first[:8], "--dry-run")
    assert (would["auditors"], run("show")["auditors"]) == ([made["fingerprint"]], both)
    run("auditor", "retire", first)
    assert run("show")["auditors"] == [made["fingerprint"]]
    assert refused("auditor", "retire", "0" * 64) == "auditor_unknown"
    assert refused("auditor", "retire", made["fingerprint"][:7]) == "auditor_unknown"
    verified = verify_journal(box / "journal", day_keys(box, read_settings(box / "sealpress.toml")).root)
    assert verified.auditors == set(both)
    opener = Opener(read_key(tmp_path / "box-auditor" / "auditor.key", "auditor-private"))
    with closing(Salts(Box.open().salts_path)) as salts:
        told = [record.metadata for record in read(box / "journal", Box.open().journal.id, opener, salts)]
    assert [(one.kind, one.data) for one in told if isinstance(one, Noted)] == [
        ("auditors", {"auditors": both}),
        ("auditors", {"auditors": [made["fingerprint"]]}),
    ]


def test_a_key_of_another_kind_is_no_auditors(box: Path) -> None:
    for path in ("box-auditor/auditor.key", box / "keys" / "bundle.pub"):
        assert refused("auditor", "add", path) == "key_kind"
    assert len(run("show")["auditors"]) == 1
