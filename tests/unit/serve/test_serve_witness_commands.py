"""What the commands of a witness refuse before anything happens."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from compliance.keys import KeyFault
from compliance.witness.errors import WitnessError, WitnessMissing
from policies.errors import Fault
from serve.witness_commands import witness
from tests.forge import Forge
from toolkit.new_box import create_box


def run(*arguments: str | Path) -> Result:
    done = CliRunner().invoke(witness, list(map(str, arguments)))
    assert done.exception is None or isinstance(done.exception, SystemExit | Fault), done.exception
    return done


@pytest.fixture
def store(tmp_path: Path) -> Path:
    assert run("init", tmp_path / "witness").exit_code == 0
    return tmp_path / "witness"


def test_a_witness_is_made_once_and_keeps_its_key_to_itself(store: Path) -> None:
    key = (store / "witness.key").read_bytes()
    again = run("init", store)
    assert isinstance(again.exception, KeyFault)
    assert again.exception.code == "key_exists"
    assert (store / "witness.key").read_bytes() == key
    assert (store / "witness.key").stat().st_mode & 0o777 == 0o600


def test_trust_takes_a_first_page_or_a_root_with_an_id(store: Path, tmp_path: Path) -> None:
    forge = Forge()
    forge.write(tmp_path / "journal")
    root = forge.genesis.split("root ")[1].split("\n")[0]

    assert run("trust", store, root).exit_code == 2
    assert run("trust", store, tmp_path / "journal/journal.note", "--id", forge.id).exit_code == 2
    (tmp_path / "another.note").write_text(forge.joints[0])
    assert run("trust", store, tmp_path / "another.note").exit_code == 2
    for arguments in ([tmp_path / "journal/journal.note"], [root, "--id", forge.id]):
        assert run("trust", store, *arguments).exit_code == 0
    assert [path.parent.name for path in store.glob("journals/*/root")] == [forge.id]


def test_a_first_page_that_was_altered_is_not_trusted(store: Path, tmp_path: Path) -> None:
    page = tmp_path / "journal.note"
    page.write_text(Forge().genesis.replace("made 2026", "made 2025"))
    assert isinstance(run("trust", store, page).exception, Fault)
    assert not list(store.glob("journals/*"))


def test_a_box_without_a_witness_in_its_settings_sends_nothing(tmp_path: Path) -> None:
    create_box(tmp_path / "box")
    settings = tmp_path / "box/sealpress.toml"
    unset = run("send", "--settings", settings).exception
    assert isinstance(unset, WitnessMissing)
    assert unset.code == "witness_unset"

    key = "ed25519:" + "A" * 42 + "E="
    settings.write_text(settings.read_text() + f'\n[witness]\nkey = "{key}"\n')
    assert run("send", "--settings", settings).exit_code == 2
    (tmp_path / "answer").write_bytes(b"\xff")
    answer = run("keep", tmp_path / "answer", "--settings", settings).exception
    assert isinstance(answer, WitnessError)
    assert answer.code == "witness_answer"
