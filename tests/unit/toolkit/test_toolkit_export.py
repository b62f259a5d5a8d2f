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
from compliance.keys import to_text
from policies.errors import Denied, Fault
from policies.licences import LicenceError, digest, facts, text
from tests.bundles import put_bundle, texts, trusting_box
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
    assert (tmp_path / "out" / "m.bundle" / "LICENSE").read_bytes() == (tmp_path / "m.bundle" / "LICENSE").read_bytes()


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


def test_a_copy_carries_the_notice_and_the_name_that_its_licence_asks_for(tmp_path: Path) -> None:
    box = declaring_box(tmp_path, LLAMA)
    notice = facts(LLAMA).notices[0].encode()
    with closing(box.journal):
        put_bundle(tmp_path / "bare.bundle", name="Llama-bare", licence=LLAMA)
        assert rules(refused(box, tmp_path / "bare.bundle")) == ["licence.users", "licence.notices"]
        took(box, users=5)
        assert rules(refused(box, tmp_path / "bare.bundle")) == ["licence.notices"]
        for name in ("small", "llama-small"):
            assert rules(refused(box, again(tmp_path, "bare", name, NOTICE=notice))) == ["licence.name"]
        export(box, again(tmp_path, "bare", "Llama-small", NOTICE=notice), tmp_path / "out.tar", Context())
        assert (tmp_path / "out.tar").exists()


def test_where_rules_of_ones_own_let_models_be_handed_on_a_copy_carries_them_too(box: Box, tmp_path: Path) -> None:
    rule = '@id("own.share") @reason("All is handed on.") permit (principal, action == Action::"export", resource);'
    (box.folder / "own.cedar").write_text(rule)
    text = box.path.read_text("utf-8").replace(', "licence"]', "]").replace("rules = []", 'rules = ["own.cedar"]')
    box.path.write_text(text, "utf-8")
    assert box.reload()
    put_bundle(tmp_path / "bare.bundle", name="Llama-small", licence=LLAMA)
    assert refused(box, tmp_path / "bare.bundle").code == "licence_notices"
    small = again(tmp_path, "bare", "small", NOTICE=facts(LLAMA).notices[0].encode())
    assert refused(box, small).code == "licence_name"


def test_a_text_that_a_licence_asks_for_is_missed(tmp_path: Path) -> None:
    box = declaring_box(tmp_path, LLAMA)
    took(box, users=5)
    put_bundle(tmp_path / "Llama-a.bundle", name="Llama-a", licence=f"{LLAMA} AND MIT")
    notice = facts(LLAMA).notices[0].encode()
    held, policy = texts(f"{LLAMA} AND MIT")["LICENSE"], texts(LLAMA)["USE_POLICY"]
    one_less, altered = texts(LLAMA)["LICENSE"], held.replace(b"700 million", b"9 million", 1)
    joined = held.replace(b"\f", b"")
    whole = again(tmp_path, "Llama-a", "Llama-whole", NOTICE=notice)
    export(box, whole, tmp_path / "whole.tar", Context())
    broken: tuple[dict[str, bytes | None], ...] = (
        {"LICENSE": one_less},
        {"LICENSE": altered},
        {"LICENSE": joined},
        {"USE_POLICY": None},
        {"USE_POLICY": policy.replace(b"Violence", b"Silence", 1)},
    )
    for number, files in enumerate(broken):
        fault = refused(box, again(tmp_path, "Llama-a", f"Llama-{number}", **{"NOTICE": notice, **files}))
        assert fault.code == "licence_texts", files


def test_the_text_that_the_lineage_names_is_the_one_that_travels(box: Box, tmp_path: Path) -> None:
    made = put_bundle(tmp_path / "m.bundle")
    (parent,) = made.manifest.lineage
    other = structs.replace(parent, text=digest(text("Apache-2.0")))
    draft = structs.replace(made.manifest, lineage=(other,))
    files = {file: (made.path / file).read_bytes() for file in made.manifest.files}
    write_bundle(tmp_path / "other.bundle", draft, files, made.measurements, SIGNER)
    assert refused(box, tmp_path / "other.bundle").code == "licence_texts"
    right = structs.replace(draft, lineage=(structs.replace(parent, text=digest(text("MIT"))),))
    write_bundle(tmp_path / "right.bundle", right, files, made.measurements, SIGNER)
    export(box, tmp_path / "right.bundle", tmp_path / "right.tar", Context())


def again(folder: Path, of: str, name: str, **changed: bytes | None) -> Path:
    """A bundle under another name and with other files."""
    made = Bundle.read(folder / f"{of}.bundle", (to_text(SIGNER.public),))
    files = {file: (made.path / file).read_bytes() for file in made.manifest.files} | changed
    kept = {file: data for file, data in files.items() if data is not None}
    path = folder / f"{name}.bundle"
    write_bundle(path, structs.replace(made.manifest, name=name), kept, made.measurements, SIGNER)
    return path


def test_nothing_is_overwritten_and_no_stranger_is_passed_on(box: Box, tmp_path: Path) -> None:
    put_bundle(tmp_path / "m.bundle")
    (tmp_path / "m.tar").write_text("mine")
    with pytest.raises(BundleError) as caught:
        export(box, tmp_path / "m.bundle", tmp_path / "m.tar", Context())
    assert caught.value.code == "bundle_exists"
    assert (tmp_path / "m.tar").read_text() == "mine"
    put_bundle(tmp_path / "other.bundle", signer=Signer.generate())
    assert refused(box, tmp_path / "other.bundle").code == "bundle_signer"
