"""The commands that check journals, proofs and receipts: on a box, on a copy, for a person and as JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from compliance.crypto import sha256
from compliance.journal.errors import NotReadable
from compliance.keys import KeyFault, to_text, write_key
from compliance.verify.errors import NotVerified
from compliance.verify.note import Note
from tests.forge import FIRST_DAY, Forge, notes_file
from tests.verifying import WITNESS, made, seen
from toolkit.box import Box
from toolkit.commands.journal.verify import prove, verify, verify_proof
from toolkit.commands.receipt import receipt
from toolkit.new_box import create_box
from toolkit.settings import SettingsError

KEY = to_text(Forge().root.public)
FINGERPRINT = sha256(Forge().root.public).hex()


@pytest.fixture
def forge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Forge:
    """A copy of a journal in the folder `journal`, without any settings, and heads of it beside."""
    found = made()
    found.write(tmp_path / "journal")
    for name, text in {"joint.head": found.joints[-1], "shard.head": found.shards[0].heads[1]}.items():
        (tmp_path / name).write_text(text, "utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SEALPRESS_SETTINGS", raising=False)
    return found


def run(command: click.Command, *arguments: str) -> Result:
    return CliRunner().invoke(command, arguments, catch_exceptions=False)


def value(command: click.Command, *arguments: str) -> Any:
    return json.loads(run(command, *arguments, "--json").stdout)


COPY = ("--journal", "journal", "--key", KEY)


def test_a_journal_that_holds(forge: Forge) -> None:
    done = run(verify, *COPY)
    assert done.exit_code == 0
    assert done.stdout.splitlines() == [
        "Verified 9 records: 3 calls allowed, 1 refused, 1 without an outcome.",
        "0 records stand behind the last signed head.",
        f"Sealed to the auditor with the key {sha256(forge.auditors[0].public).hex()}.",
        "Unwitnessed: no head from outside this box was compared.",
    ]
    found = value(verify, *COPY)
    assert (found["ok"], found["records"], found["failures"], found["witnessed"]) == (True, 9, [], False)
    assert found["heads"]["shard-000"]["size"] == 6
    assert value(verify, "--journal", "journal", "--key", FINGERPRINT.upper()) == found


def test_a_journal_that_a_head_and_a_witness_speak_for(forge: Forge, tmp_path: Path) -> None:
    (tmp_path / "journal" / "witnessed.notes").write_bytes(notes_file([seen(forge, 1)]))
    write_key(tmp_path / "witness.pub", "witness-verifying", WITNESS.public)
    given = (*COPY, "--head", "joint.head", "--witness", "witness.pub")
    text = run(verify, *given).stdout
    assert "The head you gave holds" in text
    assert "The witness saw 9 of the records, at 2026-11-23T12:" in text
    assert "Unwitnessed" not in text
    found = value(verify, *given)
    assert (found["head"], found["witness"]["records"], found["witnessed"]) == (True, 9, True)


def test_a_journal_that_does_not_hold(forge: Forge, tmp_path: Path) -> None:
    (tmp_path / "journal" / "shard-001.log").unlink()
    (tmp_path / "revocations").write_bytes(notes_file([forge.revocation(forge.day_key(FIRST_DAY), 0)]))
    done = run(verify, *COPY, "--revocations", "revocations")
    assert done.exit_code == 1
    assert done.stdout.startswith("NOT VERIFIED\n  joint 1: joint_revoked: ")
    assert "  shard-001: shard_missing: " in done.stdout
    assert value(verify, *COPY) == {
        "ok": False,
        "records": 6,
        "failures": [{"place": "shard-001", "code": "shard_missing"}],
    }


def test_revocations_that_are_cut_are_not_taken(forge: Forge, tmp_path: Path) -> None:
    (tmp_path / "revocations").write_bytes(notes_file([forge.revocation(forge.day_key(FIRST_DAY), 0)])[:-1])
    done = run(verify, *COPY, "--revocations", "revocations")
    assert (done.exit_code, "no file of notes" in done.output) == (2, True)


@pytest.mark.usefixtures("forge")
def test_without_settings_the_key_must_be_given() -> None:
    with pytest.raises(SettingsError):
        run(verify, "--journal", "journal")
    with pytest.raises(KeyFault):
        run(verify, "--journal", "journal", "--key", FINGERPRINT[:-1])


@pytest.mark.parametrize("head", ["joint.head", "shard.head"])
def test_a_proof_is_made_and_checked_where_the_journal_is_not(forge: Forge, tmp_path: Path, head: str) -> None:
    made = run(prove, "shard-000/3", "--out", "proof.json", "--head", head, *COPY)
    assert made.stdout == "Wrote proof.json, which proves shard-000/3.\n"
    checked = run(verify_proof, "proof.json", "--head", head, "--key", KEY)
    assert checked.stdout.startswith("Proved: shard-000/3 under the head of 2026-11-23T12:")
    assert "It leads to the head you gave." in checked.stdout
    found = value(verify_proof, "proof.json", "--head", head, "--key", KEY)
    assert (found["ok"], found["kind"], found["records"], found["given"]) == (True, "head", ["shard-000/3"], True)
    (tmp_path / "first.head").write_text(forge.joints[0], "utf-8")
    with pytest.raises(NotVerified) as refusal:
        run(verify_proof, "proof.json", "--head", "first.head", "--key", KEY)
    assert refusal.value.code == "receipt_head"


@pytest.mark.usefixtures("forge")
def test_a_proof_overwrites_nothing_and_is_of_a_record_that_is_signed(tmp_path: Path) -> None:
    assert run(prove, "shard-000/3", "--out", "joint.head", *COPY).exit_code == 2
    for record, code in (("shard-000/6", "record_unsigned"), ("shard-0/6", "record_unknown")):
        with pytest.raises(NotReadable) as refusal:
            run(prove, record, "--out", "proof.json", *COPY)
        assert refusal.value.code == code
    assert not (tmp_path / "proof.json").exists()


def test_a_receipt_that_proves(forge: Forge, tmp_path: Path) -> None:
    found = forge.receipt([(0, 1), (0, 4)], forge.shards[0].heads[1])
    (tmp_path / "receipt.json").write_text(json.dumps(found), "utf-8")
    text = run(receipt, "verify", "receipt.json", "--key", KEY).stdout
    assert text.startswith("Proved: shard-000/1, shard-000/4 under the head of 2026-11-23T12:")
    assert "Unwitnessed" in text
    assert "Unwitnessed" not in run(receipt, "verify", "receipt.json", "--key", KEY, "--head", "shard.head").stdout
    with pytest.raises(KeyFault) as refusal:
        run(receipt, "verify", "receipt.json", "--key", FINGERPRINT)
    assert refusal.value.code == "key_kind"
    assert value(receipt, "verify", "receipt.json", "--key", FINGERPRINT, "--journal", "journal")["kind"] == "head"


def test_a_promise_is_redeemed_where_the_journal_is(forge: Forge, tmp_path: Path) -> None:
    promise = forge.promise([(0, 1), (1, 2)])
    (tmp_path / "receipt.json").write_text(json.dumps(forge.receipt([(0, 1), (1, 2)], promise)), "utf-8")
    asked = ("verify", "receipt.json", "--key", KEY)
    assert "Not redeemed" in run(receipt, *asked).stdout
    assert "Kept" in run(receipt, *asked, "--journal", "journal").stdout
    assert [value(receipt, *asked, *more)["kept"] for more in ((), ("--journal", "journal"))] == [None, True]
    (tmp_path / "journal" / "shard-001.log").write_bytes(b"")
    with pytest.raises(NotVerified) as refusal:
        run(receipt, *asked, "--journal", "journal")
    assert refusal.value.failures == [("shard-001/2", "promise_broken")]
    Forge("other").write(tmp_path / "other")
    with pytest.raises(NotVerified) as refusal:
        run(receipt, *asked, "--journal", "other")
    assert refusal.value.code == "given_foreign"


def test_a_head_with_a_signature_more_is_the_same_head(forge: Forge, tmp_path: Path) -> None:
    (tmp_path / "seen.head").write_text(seen(forge, 1), "utf-8")
    assert len(Note.parsed(seen(forge, 1)).signatures) == 2
    assert value(verify, *COPY, "--head", "seen.head")["head"] is True


def test_on_a_box_the_settings_say_what_is_checked(tmp_path: Path) -> None:
    create_box(tmp_path / "box")
    settings = str(tmp_path / "box" / "sealpress.toml")
    journal = Box.open(settings).journal
    written = journal.record("read", {}, "clinic")
    (tmp_path / "receipt.json").write_bytes(journal.receipt([written]))
    assert value(verify, "--settings", settings)["records"] == 2
    found = value(receipt, "verify", str(tmp_path / "receipt.json"), "--settings", settings)
    assert (found["kind"], found["kept"]) == ("promise", True)
    journal.checkpoint()
    journal.close()
    run(prove, "shard-000/1", "--out", str(tmp_path / "proof.json"), "--settings", settings)
    found = value(receipt, "verify", str(tmp_path / "proof.json"), "--settings", settings)
    assert (found["kind"], found["records"]) == ("head", ["shard-000/1"])
