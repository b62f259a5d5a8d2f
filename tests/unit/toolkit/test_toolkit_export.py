"""`sealpress export`: what may be shared goes into one archive, and what may not does not leave."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from msgspec import structs

from compliance.crypto import Signer
from policies.errors import Denied, Fault
from policies.licences import LicenceError, facts
from tests.bundles import GOLDEN, put_bundle, trusting_box
from tests.declaring import declaring_box, took
from tests.vectors.make_bundles import SIGNER
from toolkit.box import Box, Context
from toolkit.bundle import Bundle, BundleError, write_bundle
from toolkit.commands.export import export as command
from toolkit.export import export

LLAMA = "LicenseRef-scancode-llama-3.3-license-2024"


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    made = trusting_box(tmp_path)
    with closing(made.journal):
        yield made


def refused(box: Box, bundle: Path, purpose: str | None = None) -> Fault:
    out = bundle.with_suffix(".tar")
    with pytest.raises((Denied, LicenceError, BundleError)) as caught:
        export(box, bundle, out, Context(purpose=purpose))
    assert not out.exists()
    return caught.value


def rules(fault: Fault) -> list[str]:
    assert isinstance(fault, Denied)
    findings: tuple[Any, ...] = fault.findings
    return [finding.rule for finding in findings if not finding.ok]


def test_the_archive_holds_the_files_as_signed_and_is_the_same_twice(tmp_path: Path) -> None:
    box = trusting_box(tmp_path)
    box.journal.close()
    put_bundle(tmp_path / "m.bundle")
    for name in ("one.tar", "two.tar"):
        arguments = [str(tmp_path / "m.bundle"), "--out", str(tmp_path / name), "--settings", str(box.path)]
        assert CliRunner().invoke(command, arguments, catch_exceptions=False).exit_code == 0
    assert (tmp_path / "one.tar").read_bytes() == (tmp_path / "two.tar").read_bytes()
    with tarfile.open(tmp_path / "one.tar") as archive:
        assert {(one.mtime, one.uid, one.gid, one.uname, one.mode) for one in archive} == {(0, 0, 0, "", 0o644)}
        archive.extractall(tmp_path / "out", filter="data")
    copy = Bundle.read(tmp_path / "out" / "m.bundle", box.trusted())
    assert copy.manifest == Bundle.read(tmp_path / "m.bundle", box.trusted()).manifest
    assert (tmp_path / "out" / "m.bundle" / "LICENSE").read_bytes() == (GOLDEN / "LICENSE").read_bytes()


@pytest.mark.parametrize(
    ("licence", "purpose", "expected"),
    [
        ("CC-BY-ND-4.0", None, ["default.deny", "licence.share"]),
        ("CC-BY-ND-4.0 AND MIT", None, ["default.deny", "licence.share"]),
        ("CC-BY-SA-4.0 AND GPL-3.0-only", None, ["default.deny", "licence.share"]),
        ("LicenseRef-other", None, ["default.deny", "licence.known", "licence.share"]),
        ("CC-BY-NC-4.0", "product", ["licence.commercial"]),
    ],
)
def test_what_may_not_be_shared_does_not_leave(
    box: Box, tmp_path: Path, licence: str, purpose: str | None, expected: list[str]
) -> None:
    put_bundle(tmp_path / "m.bundle", licence=licence)
    assert sorted(rules(refused(box, tmp_path / "m.bundle", purpose))) == expected


def named(box: Box, folder: Path, name: str) -> Path:
    """A bundle of Llama 3.3 under this name, with the words that its licence asks for."""
    golden = Bundle.read(GOLDEN, box.trusted())
    draft = structs.replace(golden.manifest, name=name, licence=LLAMA)
    files = {file: (GOLDEN / file).read_bytes() for file in golden.manifest.files}
    files["NOTICE"] = facts(LLAMA).notices[0].encode()
    return write_bundle(folder / f"{name}.bundle", draft, files, golden.measurements, SIGNER).path


def test_a_copy_carries_the_notice_and_the_name_that_its_licence_asks_for(tmp_path: Path) -> None:
    box = declaring_box(tmp_path, LLAMA)
    with closing(box.journal):
        put_bundle(tmp_path / "bare.bundle", name="Llama-small", licence=LLAMA)
        assert rules(refused(box, tmp_path / "bare.bundle")) == ["licence.users", "licence.notices"]
        took(box, users=5)
        assert rules(refused(box, tmp_path / "bare.bundle")) == ["licence.notices"]
        for name in ("small", "llama-small"):
            assert rules(refused(box, named(box, tmp_path, name))) == ["licence.name"]
        export(box, named(box, tmp_path, "Llama-small"), tmp_path / "out.tar", Context())
        assert (tmp_path / "out.tar").exists()


def test_where_rules_of_ones_own_let_models_be_handed_on_a_copy_carries_them_too(box: Box, tmp_path: Path) -> None:
    rule = '@id("own.share") @reason("All is handed on.") permit (principal, action == Action::"export", resource);'
    (box.folder / "own.cedar").write_text(rule)
    text = box.path.read_text("utf-8").replace(', "licence"]', "]").replace("rules = []", 'rules = ["own.cedar"]')
    box.path.write_text(text, "utf-8")
    assert box.reload()
    put_bundle(tmp_path / "bare.bundle", name="Llama-small", licence=LLAMA)
    assert refused(box, tmp_path / "bare.bundle").code == "licence_notices"
    assert refused(box, named(box, tmp_path, "small")).code == "licence_name"


def test_nothing_is_overwritten_and_no_stranger_is_passed_on(box: Box, tmp_path: Path) -> None:
    put_bundle(tmp_path / "m.bundle")
    (tmp_path / "m.tar").write_text("mine")
    with pytest.raises(BundleError) as caught:
        export(box, tmp_path / "m.bundle", tmp_path / "m.tar", Context())
    assert caught.value.code == "bundle_exists"
    assert (tmp_path / "m.tar").read_text() == "mine"
    put_bundle(tmp_path / "other.bundle", signer=Signer.generate())
    assert refused(box, tmp_path / "other.bundle").code == "bundle_signer"
