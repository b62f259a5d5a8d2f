"""Sealed bundles: read by everybody as far as they are public, opened in memory by those they are sealed to."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from compliance.crypto import Sealer
from compliance.keys import KeyFault, fingerprint, read_key, to_text, write_key
from compliance.sealed.errors import SealedError
from compliance.sealed.granted import made_key
from compliance.state.grants.terms import Terms, new_id
from policies.errors import Denied, Fault
from tests.bundles import GOLDEN as PLAIN
from tests.bundles import put_bundle, trusting_box
from tests.commands import within
from tests.granted import grant, granted_box, took
from tests.vectors.make_bundles import SIGNER
from tests.vectors.make_sealed import ATTACKS, BOX, GOLDEN, HERE, KEY, long, named
from toolkit.box import Box, Context
from toolkit.bundle import Bundle, BundleError
from toolkit.commands.show import described as shown
from toolkit.model import Model
from toolkit.models import Models, Unserved
from toolkit.sealed import described, opened
from toolkit.sealing import recipient, seal
from toolkit.settings import SettingsError

TRUSTED = {to_text(SIGNER.public)}
ASKED = Context(purpose="search")
Make = Callable[[str], Box]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    with ExitStack() as stack:

        def made(name: str) -> Box:
            box = trusting_box(tmp_path / name)
            stack.callback(box.journal.close)
            return box

        yield made


def own(box: Box) -> Path:
    return box.folder / "keys" / "sealing.pub"


def sealed(box: Box, *to: Path, name: str = "m") -> Path:
    """The golden bundle, sealed by this box."""
    out = box.folder / f"{name}.sealed"
    plain = box.folder / "plain" / f"{name}.bundle"
    if not plain.exists():
        put_bundle(plain)
    seal(box, plain, [recipient(path) for path in to or (own(box),)], out, Context())
    return out


def answer(box: Box, path: Path) -> Any:
    return Model(opened(path, box), box).embed("where is the ward", purpose="search")


def refused(box: Box, path: Path) -> str:
    with pytest.raises((SealedError, BundleError)) as caught:
        opened(path, box)
    return caught.value.code


def rules(denied: Denied) -> list[str]:
    findings: tuple[Any, ...] = denied.findings
    return [finding.rule for finding in findings if not finding.ok]


def golden_box(box: Box) -> Box:
    """A box that has the key of the golden file."""
    (box.folder / "keys" / "sealing.key").write_bytes(KEY.read_bytes())
    return box


def test_it_answers_as_the_plain_one_does_and_has_the_same_digest(make: Make) -> None:
    box = make("a")
    path = sealed(box)
    plain = Bundle.read(box.folder / "plain" / "m.bundle", TRUSTED)
    found = opened(path, box)
    assert (found.manifest, found.measurements, found.signer) == (plain.manifest, plain.measurements, plain.signer)
    assert (found.model, found.tokenizer) == (plain.model, plain.tokenizer)
    assert np.array_equal(answer(box, path), Model(plain, box).embed("where is the ward", purpose="search"))


def test_the_golden_file_opens_and_is_described_without_a_key(make: Make) -> None:
    found, recipients = described(GOLDEN, TRUSTED)
    assert found.manifest == Bundle.read(PLAIN, TRUSTED).manifest
    assert [(one.kind, one.name) for one in recipients] == [("box", fingerprint(BOX.public)), ("grant", "07" * 16)]
    assert "golden 1" in shown(found)
    assert opened(GOLDEN, golden_box(make("a"))).model == (PLAIN / "model.onnx").read_bytes()


def test_every_attack_has_its_file() -> None:
    assert {path.name for path in (HERE / "attacks").iterdir()} == {f"{named(attack)}.sealed" for attack in ATTACKS}


@pytest.mark.parametrize(("attack", "code"), ATTACKS.items(), ids=lambda one: named(one) if callable(one) else "")
def test_attacks_are_refused_with_the_reason(
    golden: Box, tmp_path: Path, attack: Callable[[], bytes], code: str
) -> None:
    assert refused(golden, HERE / "attacks" / f"{named(attack)}.sealed") == code
    # made anew, with keys and nonces of its own, it fares the same
    (tmp_path / "again.sealed").write_bytes(attack())
    assert refused(golden, tmp_path / "again.sealed") == code


@pytest.fixture(scope="module")
def golden(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    box = golden_box(trusting_box(tmp_path_factory.mktemp("golden")))
    with closing(box.journal):
        yield box


def test_a_container_that_is_no_bundle_is_refused(golden: Box, tmp_path: Path) -> None:
    (tmp_path / "x.sealed").write_bytes(long())
    assert refused(golden, tmp_path / "x.sealed") == "bundle_incomplete"
    (tmp_path / "y.sealed").symlink_to(GOLDEN)
    with pytest.raises(Fault) as caught:
        opened(tmp_path / "y.sealed", golden)
    assert caught.value.code == "bundle_not_found"


def test_another_box_reads_what_it_is_and_opens_nothing(make: Make) -> None:
    one, other = make("a"), make("b")
    path = sealed(one)
    assert described(path, other.trusted())[0].manifest.name == "golden"
    assert refused(other, path) == "sealed_foreign"
    both = sealed(one, own(one), own(other), name="both")
    assert np.array_equal(answer(one, both), answer(other, both))


def test_a_signer_who_is_not_trusted_is_refused_before_a_key_is_touched(make: Make, tmp_path: Path) -> None:
    path = sealed(make("a"))
    with pytest.raises(BundleError) as caught:
        described(path, ())
    assert caught.value.code == "bundle_signer"


def test_a_box_without_a_key_is_told_so(make: Make) -> None:
    box = make("a")
    path = sealed(box)
    (box.folder / "keys" / "sealing.key").unlink()
    assert refused(box, path) == "sealed_foreign"


def test_nothing_plain_is_written_while_it_is_opened_and_asked(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    box = make("a")
    path = sealed(box)
    plain = Bundle.read(box.folder / "plain" / "m.bundle", TRUSTED)
    scratch = box.folder.parent / "scratch"
    scratch.mkdir()
    monkeypatch.setenv("TMPDIR", str(scratch))
    monkeypatch.setattr(tempfile, "tempdir", None)
    needles = {plain.model[at : at + 24] for at in range(0, len(plain.model) - 24, 24)} | {b'"[UNK]"'}
    assert b'"[UNK]"' in (plain.tokenizer or b"")
    for file in (box.folder / "plain" / "m.bundle").iterdir():
        file.unlink()
    written: list[str] = []

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        if watching and event == "open" and isinstance(arguments[2], int) and arguments[2] & 3:
            written.append(str(arguments[0]))

    watching = True
    sys.addaudithook(watch)
    answer(box, path)
    watching = False
    assert all("journal" in name or "state" in name for name in written), written
    assert list(scratch.iterdir()) == []
    for file in box.folder.parent.rglob("*"):
        if file.is_file():
            data = file.read_bytes()
            assert not any(needle in data for needle in needles), file


def test_sealed_to_a_grant_it_runs_while_the_grant_is_in_force(tmp_path: Path) -> None:
    box = granted_box(tmp_path)
    with closing(box.journal):
        path, terms = grant_sealed(box)
        assert refused(box, path) == "sealed_foreign"  # it was not imported yet
        took(box, id=terms.id, sealing=terms.sealing, calls=2)
        model = Model(opened(path, box), box)
        for _ in range(2):
            model.embed("where is the ward", purpose="search")
        with pytest.raises(Denied) as caught:
            model.embed("where is the ward", purpose="search")
        assert "grant.left" in rules(caught.value)
        assert refused(box, path) == "sealed_grant_spent"


def test_it_needs_that_grant_also_where_the_settings_name_no_model(tmp_path: Path) -> None:
    box = granted_box(tmp_path)
    with closing(box.journal):
        path, terms = grant_sealed(box)
        took(box, id=terms.id, sealing=terms.sealing)
        took(box)  # another one, for any model
        model = Model(opened(path, box), box)
        box.meter.models = ()
        assert model.ask({"texts": ["where"]}, ASKED).call
        box.meter.revoke(terms.id, box.journal.now())
        with pytest.raises(Denied):
            model.ask({"texts": ["where"]}, ASKED)
        assert refused(box, path) == "sealed_grant_revoked"


def test_a_detector_is_not_sealed_to_a_grant(tmp_path: Path) -> None:
    box = granted_box(tmp_path)
    box.path.write_text(box.path.read_text("utf-8") + '\n[privacy]\ndetector = "g.sealed"\n', "utf-8")
    with closing(box.journal):
        path, terms = grant_sealed(box)
        took(box, id=terms.id, sealing=terms.sealing)
    again = Box(box.path)
    with closing(again.journal):
        assert path == again.folder / "g.sealed"
        with pytest.raises(SettingsError, match="sealed to a grant"):
            _ = again.detector


def grant_sealed(box: Box) -> tuple[Path, Terms]:
    """The golden bundle sealed to a grant that is not imported yet, and the terms of that."""
    id_ = new_id()
    key = made_key(id_, box.journal.id, Sealer(read_key(own(box), "sealing-public")))
    issued = grant(box.journal.id, id=id_, sealing=key)
    (box.folder / "g.grant").write_bytes(issued.file)
    return sealed(box, box.folder / "g.grant", name="g"), issued.terms


def test_a_folder_of_models_takes_sealed_ones_lets_them_rest_and_wakes_them(tmp_path: Path) -> None:
    box = granted_box(tmp_path)
    faults: list[Fault] = []
    with closing(box.journal):
        (box.folder / "a.bundle").rename(box.folder / "plain.gone")
        path, terms = grant_sealed(box)
        models = Models(box, [box.folder], cores=1, refused=faults.append)
        models.refresh()
        assert [one.code for one in faults] == ["sealed_foreign"]
        took(box, id=terms.id, sealing=terms.sealing)
        models.refresh(again=True)
        entry = models.find("golden")
        assert entry.state == "ready"
        assert "unsealing" in models.opened()["golden"]
        models._rest(entry, "resting", "memory")
        assert models.wake(entry).ask({"texts": ["where"]}, ASKED).call
        box.meter.revoke(terms.id, box.journal.now())
        models.refresh()
        assert (entry.state, entry.model, entry.reason) == ("resting", None, "sealed_grant_revoked")
        with pytest.raises(Unserved, match="sealed_grant_revoked"):
            models.wake(entry)
        # another file in its place is taken like any other
        path.unlink()
        sealed(box, name="g")
        models.refresh()
        assert models.find("golden").model is not None


def test_a_model_sealed_anew_to_another_grant_takes_the_place_of_the_one_before(tmp_path: Path) -> None:
    box = granted_box(tmp_path)
    with closing(box.journal):
        (box.folder / "a.bundle").rename(box.folder / "plain.gone")
        path, first = grant_sealed(box)
        took(box, id=first.id, sealing=first.sealing, calls=1)
        models = Models(box, [box.folder], cores=1)
        models.refresh()
        entry = models.find("golden")
        assert models.wake(entry).ask({"texts": ["where"]}, ASKED).call
        with pytest.raises(Denied):  # used up
            models.wake(entry).ask({"texts": ["where"]}, ASKED)
        path.unlink()
        _, second = grant_sealed(box)
        took(box, id=second.id, sealing=second.sealing)
        models.refresh()
        assert models.wake(entry).under == second.id
        assert models.wake(entry).ask({"texts": ["where"]}, ASKED).call


def test_sealing_to_others_is_handing_on(make: Make, tmp_path: Path) -> None:
    one, other = make("a"), make("b")
    put_bundle(one.folder / "nd.bundle", licence="CC-BY-ND-4.0")
    to, out = [recipient(own(other))], tmp_path / "out.sealed"
    for dry_run in (True, False):
        with pytest.raises(Denied) as caught:
            seal(one, one.folder / "nd.bundle", to, out, Context(), dry_run=dry_run)
        assert "licence.share" in rules(caught.value)
    assert not out.exists()
    # to itself it may be sealed: it stays where it is
    assert not seal(one, one.folder / "nd.bundle", [recipient(own(one))], out, Context()).shared


def test_the_commands_say_what_they_did_and_a_dry_run_does_nothing(make: Make) -> None:
    box = make("a")
    box.journal.close()
    put_bundle(box.folder / "m.bundle")
    arguments = ("seal", "m.bundle", "--to", "keys/sealing.pub", "--out", "m.sealed", "--json")
    tried = within(box.folder, *arguments, "--dry-run")
    assert (tried.returncode, json.loads(tried.stdout)["out"]) == (0, None)
    assert not (box.folder / "m.sealed").exists()
    done = json.loads(within(box.folder, *arguments).stdout)
    name = json.loads(within(box.folder, "keys", "sealing", "show", "--json").stdout)["fingerprint"]
    assert (done["recipients"], done["shared"], done["out"]) == ([f"box:{name}"], False, "m.sealed")
    again = within(box.folder, *arguments)
    assert json.loads(again.stdout)["code"] == "bundle_exists"
    loaded = within(box.folder, "show", "m.sealed", "--load")
    assert f"sealed   to box {name}" in loaded.stdout
    assert "ms unsealing" in loaded.stdout
    told = json.loads(within(box.folder, "show", "m.sealed", "--load", "--json").stdout)
    assert told["sealed_to"] == [{"kind": "box", "name": name}]
    assert told["opened"]["unsealed"]["plain_bytes"] == done["hidden_bytes"]
    assert "MIT" in within(box.folder, "licence", "explain", "m.sealed").stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ("export", "m.sealed", "--out", "x.tar"),
        ("compress", "m.sealed", "--out", "x.bundle"),
        ("seal", "m.sealed", "--to", "keys/sealing.pub", "--out", "x.sealed"),
    ],
    ids=lambda one: one[0],
)
def test_what_needs_the_plain_bundle_refuses_a_sealed_one(golden: Box, arguments: tuple[str, ...]) -> None:
    (golden.folder / "m.sealed").write_bytes(GOLDEN.read_bytes())
    done = within(golden.folder, *arguments, "--json")
    assert (done.returncode, json.loads(done.stdout)["code"]) == (1, "sealed_closed")


def test_recipients_are_keys_and_grants_and_nothing_else(make: Make, tmp_path: Path) -> None:
    box = make("a")
    write_key(tmp_path / "k", "bundle-verifying", SIGNER.public)
    for path in (tmp_path / "k", tmp_path / "none"):
        with pytest.raises(KeyFault):
            recipient(path)
    (tmp_path / "g").write_bytes(grant(box.journal.id).file)
    with pytest.raises(SealedError) as caught:
        recipient(tmp_path / "g")
    assert caught.value.code == "sealed_grant_keyless"
    put_bundle(tmp_path / "m.bundle")
    to = recipient(own(box))
    with pytest.raises(SealedError) as twice:
        seal(box, tmp_path / "m.bundle", [to, to], tmp_path / "m.sealed", Context())
    assert twice.value.code == "sealed_recipients"
    assert not (tmp_path / "m.sealed").exists()


def test_a_box_of_before_makes_its_key_once(make: Make) -> None:
    box = make("a")
    (box.folder / "keys" / "sealing.key").unlink()
    made = json.loads(within(box.folder, "keys", "sealing", "create", "--json").stdout)
    assert (
        made["fingerprint"]
        == fingerprint(box.sealing_key().public)
        == fingerprint(read_key(own(box), "sealing-public"))
    )
    assert json.loads(within(box.folder, "keys", "sealing", "create", "--json").stdout)["code"] == "key_exists"
    assert answer(box, sealed(box)).shape == (1, 4)


def test_a_grant_is_issued_with_the_key_of_its_holders_box(make: Make, tmp_path: Path) -> None:
    box = make("a")
    box.journal.close()
    within(tmp_path, "grant", "key", "issuer.key")
    shared = (
        "grant",
        "issue",
        "--key",
        "issuer.key",
        "--issuer",
        "Works",
        "--holder",
        "St. Mary",
        "--box",
        box.journal.id,
    )
    more = ("--model", "*", "--ends", "2099-01-01", "--sealing-key", own(box), "--out", "g.grant", "--json")
    said = json.loads(within(tmp_path, *shared, *more).stdout)
    to = recipient(tmp_path / "g.grant")
    assert (to.kind, to.name, said["sealing"]) == ("grant", said["id"], fingerprint(to.sealer.public))
    # a grant without a key is the same bytes as before there were such keys
    assert b"sealing" not in msgspec.json.encode(grant(box.journal.id).terms)
