"""sealpress.toml: read, found, and changed without losing anything."""

from __future__ import annotations

import time
import tomllib
from pathlib import Path

import pytest

from compliance.crypto import Opener, Signer
from compliance.keys import kind_of, read_key, to_text
from compliance.verify.journal import verify_journal
from policies.errors import Fault
from toolkit.box import Box, Context
from toolkit.box_keys import auditors, day_keys, exposed
from toolkit.new_box import create_box
from toolkit.policy import Policy
from toolkit.settings import SettingsError, WitnessSettings, found_settings, read_settings, trusting


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
    assert {"base.allow", "gdpr.special", "licence.known"} <= {
        rule.id for rule in Policy.in_force(made / "sealpress.toml", settings).engine().rules
    }


def test_the_keys_of_a_box_are_private_and_apart(made: Path) -> None:
    modes = {path.name: path.stat().st_mode & 0o777 for path in made.glob("keys/**/*.key")}
    assert len(modes) == 2 + 31
    assert set(modes.values()) == {0o600}
    for name, kind in (("auditor", "auditor-private"), ("root", "journal-root")):
        apart = made.with_name(f"ward 3-{name}")
        assert (apart.stat().st_mode & 0o777, [path.name for path in apart.glob("*.key")]) == (0o700, [f"{name}.key"])
        assert kind_of(apart / f"{name}.key") == kind
    keys = [path.read_bytes() for path in made.parent.glob("**/*.key")]
    assert len(set(keys)) == len(keys)


def test_a_new_box_signs_for_31_days_and_is_sealed_to_its_auditor(made: Path) -> None:
    keys = day_keys(made, read_settings(made / "sealpress.toml"))
    assert keys.days_left(time.time_ns()) == 31
    assert verify_journal(made / "journal", keys.root).records == 0
    opener = Opener(read_key(made.with_name("ward 3-auditor") / "auditor.key", "auditor-private"))
    assert [sealer.public for sealer in auditors(made).sealers()] == [opener.public]


def test_private_keys_that_lie_with_a_box_are_found(made: Path, tmp_path: Path) -> None:
    left = {"ward 3-auditor/auditor.key", "ward 3-root/root.key"}
    assert {str(path.relative_to(tmp_path)) for path in exposed(made)} == left
    for name in ("auditor", "root"):
        (made / "safe").mkdir(exist_ok=True)
        made.with_name(f"ward 3-{name}").joinpath(f"{name}.key").rename(made / "safe" / f"old {name}.key")
    assert [path.name for path in exposed(made)] == ["old auditor.key", "old root.key"]
    (made / "safe").rename(tmp_path / "elsewhere")
    assert exposed(made) == ()


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


@pytest.mark.parametrize("name", ["box-auditor", "box-root"])
def test_the_keys_of_another_box_are_not_overwritten(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    with pytest.raises(Fault) as caught:
        create_box(tmp_path / "box")
    assert caught.value.code == "settings_exist"
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_folder_that_holds_other_things_becomes_a_box(tmp_path: Path) -> None:
    (tmp_path / "box").mkdir()
    (tmp_path / "box" / "notes.txt").write_text("mine")
    create_box(tmp_path / "box")
    assert Box(tmp_path / "box" / "sealpress.toml").policy.digest
    assert (tmp_path / "box" / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("root = ", "signer = ", r"\[journal\] signer: .* before journals had a root"),
        ('"buffered"', '"fast"', "durability"),
        ("[journal]", "[journal]\nretain_days = 0", "retain_days"),
        ("[journal]", '[witness]\nurl = "http://w"\n[journal]', "key"),
    ],
)
def test_a_wrong_setting_is_named(made: Path, old: str, new: str, message: str) -> None:
    path = made / "sealpress.toml"
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(SettingsError, match=message) as caught:
        read_settings(path)
    assert caught.value.code == "settings_malformed"


def test_the_root_and_the_witness_are_keys(made: Path) -> None:
    path = made / "sealpress.toml"
    text = path.read_text()
    root = read_settings(path).journal.root
    path.write_text(f'{text}\n[witness]\nkey = "{root}"\n')
    assert read_settings(path).witness == WitnessSettings(key=root)
    for wrong in (text.replace(root, root[:-2]), f'{text}\n[witness]\nkey = "x"\n'):
        path.write_text(wrong)
        with pytest.raises(Fault) as caught:
            read_settings(path)
        assert caught.value.code == "key_malformed"


def test_a_journal_of_another_root_is_not_written(made: Path) -> None:
    path = made / "sealpress.toml"
    other = to_text(Signer.generate().public)
    path.write_text(path.read_text().replace(read_settings(path).journal.root, other))
    with pytest.raises(Fault) as caught:
        Box(path)
    assert caught.value.code == "journal_foreign"


def test_the_key_that_signs_bundles_comes_from_where_the_settings_say(
    made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = made / "sealpress.toml"
    expected = Box(path).bundle_signer().public
    monkeypatch.setenv("BUNDLE_KEY", (made / "keys" / "bundle.key").read_text())
    (made / "keys" / "bundle.key").unlink()
    with pytest.raises(Fault) as caught:
        Box(path).bundle_signer()
    assert caught.value.code == "key_missing"
    path.write_text(path.read_text() + '\n[keys]\nbundle = "env:BUNDLE_KEY"\n')
    assert Box(path).bundle_signer().public == expected


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


@pytest.mark.parametrize(
    "lines",
    [
        'algorithms = ["HS256"]',
        'algorithms = ["none"]',
        'algorithms = ["EdDSA", "HS512"]',
        "algorithms = []",
        "leeway_s = 3600",
        "leeway_s = -1",
        'audience = ""',
        'secret = "shared"',
    ],
)
def test_tokens_are_checked_in_no_weak_way(made: Path, lines: str) -> None:
    jwt = {"jwks": '"jwks.json"', "issuer": '"https://id.example"', "audience": '"sealpress"'}
    jwt |= dict([lines.split(" = ", 1)])
    path = made / "sealpress.toml"
    path.write_text(
        path.read_text("utf-8") + "\n[serve.jwt]\n" + "".join(f"{k} = {v}\n" for k, v in jwt.items()), "utf-8"
    )
    with pytest.raises(SettingsError) as caught:
        read_settings(path)
    assert caught.value.code == "settings_malformed"
