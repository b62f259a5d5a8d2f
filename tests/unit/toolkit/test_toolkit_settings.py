"""sealpress.toml: read, found, and changed without losing anything."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from compliance.crypto import Signer
from compliance.keys import to_text
from policies.errors import Fault
from toolkit.box import Box, Context, create_box
from toolkit.settings import found_settings, policy_texts, read_settings, trusting


@pytest.fixture
def made(tmp_path: Path) -> Path:
    create_box(tmp_path / "ward 3")
    return tmp_path / "ward 3"


def test_a_new_box_reads_back(made: Path) -> None:
    settings = read_settings(made / "sealpress.toml")
    assert settings.box.name == "ward 3"
    assert {name: purpose.commercial for name, purpose in settings.purposes.items()} == {
        "search": False, "classification": False, "assistance": False, "product": True,
    }  # fmt: skip
    assert all(purpose.bases and purpose.retain_days > 0 for purpose in settings.purposes.values())
    assert "base.cedar" in policy_texts(made / "sealpress.toml", settings.policy)


def test_the_keys_of_a_box_are_private_and_apart(made: Path) -> None:
    keys = {path.name: path.stat().st_mode & 0o777 for path in (made / "keys").iterdir()}
    assert keys["bundle.key"] == keys["journal.key"] == 0o600
    assert (made / "keys" / "bundle.key").read_bytes() != (made / "keys" / "journal.key").read_bytes()
    auditor = made.with_name("ward 3-auditor")
    assert auditor.stat().st_mode & 0o777 == 0o700
    assert [path.name for path in auditor.iterdir()] == ["auditor.key"]
    assert not list(made.rglob("auditor.key"))


@pytest.mark.parametrize("name", ["sealpress.toml", "journal", "keys", "state"])
def test_nothing_is_overwritten(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "box"
    folder.mkdir()
    (folder / name).write_text("mine")
    with pytest.raises(Fault) as caught:
        create_box(folder)
    assert caught.value.code == "settings_exist"
    assert (folder / name).read_text() == "mine"
    assert sorted(path.name for path in tmp_path.rglob("*")) == sorted(["box", name])


def test_an_auditors_key_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "box-auditor").mkdir()
    with pytest.raises(Fault) as caught:
        create_box(tmp_path / "box")
    assert caught.value.code == "settings_exist"
    assert [path.name for path in tmp_path.iterdir()] == ["box-auditor"]


def test_a_folder_that_holds_other_things_becomes_a_box(tmp_path: Path) -> None:
    (tmp_path / "box").mkdir()
    (tmp_path / "box" / "notes.txt").write_text("mine")
    create_box(tmp_path / "box")
    assert Box(tmp_path / "box" / "sealpress.toml").policy.digest
    assert (tmp_path / "box" / "notes.txt").read_text() == "mine"


def test_settings_are_found_as_the_help_says(made: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("SEALPRESS_SETTINGS", raising=False)
    monkeypatch.chdir(made)
    assert found_settings(None) == made / "sealpress.toml"
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Fault) as caught:
        found_settings(None)
    assert caught.value.code == "settings_not_found"
    monkeypatch.setenv("SEALPRESS_SETTINGS", str(made / "sealpress.toml"))
    assert found_settings(None) == made / "sealpress.toml"
    with pytest.raises(Fault):
        found_settings(tmp_path / "other.toml")


def test_a_variable_that_points_nowhere_makes_no_private_box(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SEALPRESS_SETTINGS", str(tmp_path / "gone.toml"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    with pytest.raises(Fault) as caught:
        Box.embedded(None)
    assert caught.value.code == "settings_not_found"
    assert not (tmp_path / "data").exists()


def test_a_signer_is_added_and_nothing_else_changes(made: Path) -> None:
    text = (made / "sealpress.toml").read_text()
    key = to_text(Signer.generate().public)
    changed = trusting(text, key)
    before, after = tomllib.loads(text), tomllib.loads(changed)
    assert after["trust"]["signers"] == [key, *before["trust"]["signers"]]
    after["trust"] = before["trust"]
    assert after == before
    assert "# Whose bundles are accepted." in changed
    assert trusting(changed, key) == changed


def test_settings_of_another_layout_are_left_alone(made: Path) -> None:
    text = (made / "sealpress.toml").read_text()
    key = to_text(Signer.generate().public)
    trap = '[box]\nname = "signers = ["\n' + text.partition("[trust]")[1] + text.partition("[trust]")[2]
    for other in (text.replace("signers = [", "signers=["), "format = 1\n" + trap):
        with pytest.raises(Fault) as caught:
            trusting(other, key)
        assert caught.value.code == "settings_trust"
        assert key in str(caught.value)


@pytest.mark.parametrize("value", [1, b"x", ["search"]])
def test_a_context_is_text(value: object) -> None:
    with pytest.raises(Fault) as caught:
        Context(purpose=value)  # type: ignore[arg-type] # what is no text is the test
    assert caught.value.code == "input_type"


def test_a_call_carries_who_when_and_how_long(made: Path) -> None:
    box = Box(made / "sealpress.toml")
    first = box.call("infer", "d", Context(purpose="search", subject="s"))
    second = box.call("infer", "d", Context(actor="key-1", purpose="unknown"))
    assert (first.actor, first.tenant, first.retain_days) == ("local", "local", 180)
    assert (second.actor, second.retain_days) == ("key-1", 0)
    assert first.at <= second.at
    assert first.id != second.id
    box.journal.close()
