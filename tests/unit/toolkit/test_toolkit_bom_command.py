"""The command that writes bills of materials: of whom it takes bundles, sealed ones too, and what it says."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from compliance.crypto import Signer
from tests.bundles import put_bundle, trusting_box
from tests.commands import within
from tests.unit.toolkit.bom.bundles import HOSTILE, changed
from tests.vectors.make_bundles import HERE
from toolkit.box import Box, Context
from toolkit.sealing import recipient, seal

GOLDEN = HERE / "golden-v1"


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    box = trusting_box(tmp_path_factory.mktemp("bom"))
    with closing(box.journal):
        yield box


def refused(box: Box, *arguments: str | Path) -> str:
    done = within(box.folder, "bom", *arguments, "--json")
    assert done.returncode == 1
    code: str = json.loads(done.stdout)["code"]
    return code


@pytest.mark.parametrize(("form", "key"), [("cyclonedx", "serialNumber"), ("spdx", "@graph")])
def test_it_prints_or_writes_the_same_document(box: Box, tmp_path: Path, form: str, key: str) -> None:
    printed = within(box.folder, "bom", GOLDEN, "--format", form)
    assert printed.returncode == 0, printed.stderr
    assert key in json.loads(printed.stdout)
    made, again = tmp_path / "made.json", tmp_path / "again.json"
    done = within(box.folder, "bom", GOLDEN, "--format", form, "--out", made, "--json")
    assert json.loads(done.stdout)["format"] == form
    assert made.read_text("utf-8") == printed.stdout
    assert refused(box, GOLDEN, "--format", form, "--out", made) == "bundle_exists"
    assert within(box.folder, "bom", GOLDEN, "--format", form, "--out", again).stdout == f"{again}: golden 1, MIT\n"


def test_it_takes_the_times_and_the_address_that_are_given(box: Box) -> None:
    times = ("--created", "2026-11-29T12:00:00Z", "--released", "2026-11-28T00:00:00Z")
    told = ("--format", "spdx", *times, "--location", "https://a.example")
    found: dict[str, Any] = json.loads(within(box.folder, "bom", GOLDEN, *told).stdout)
    (model,) = [one for one in found["@graph"] if one["type"] == "ai_AIPackage"]
    assert model["releaseTime"] == "2026-11-28T00:00:00Z"
    assert model["software_downloadLocation"] == "https://a.example"
    late = within(box.folder, "bom", GOLDEN, "--format", "spdx", "--created", "yesterday", "--json")
    assert (late.returncode, json.loads(late.stdout)["code"]) == (2, "usage")


def test_of_a_sealed_bundle_the_same_is_told_unopened(box: Box, tmp_path: Path) -> None:
    plain, closed = tmp_path / "m.bundle", tmp_path / "m.sealed"
    put_bundle(plain)
    seal(box, plain, [recipient(box.folder / "keys" / "sealing.pub")], closed, Context(purpose="search"))
    before = (box.journal_folder / "shard-000.log").read_bytes()
    key = (box.folder / "keys" / "sealing.key").rename(tmp_path / "away.key")
    told = {within(box.folder, "bom", one, "--format", "cyclonedx").stdout for one in (plain, closed)}
    key.rename(box.folder / "keys" / "sealing.key")
    assert len(told) == 1
    assert "serialNumber" in told.pop()
    assert (box.journal_folder / "shard-000.log").read_bytes() == before


def test_it_takes_no_bundle_that_does_not_hold(box: Box, tmp_path: Path) -> None:
    out = ("--out", tmp_path / "made.json")
    put_bundle(tmp_path / "strange.bundle", signer=Signer.generate())
    assert refused(box, tmp_path / "strange.bundle", "--format", "spdx", *out) == "bundle_signer"
    bad = HERE / "attacks" / "flipped-bit-in-the-weights"
    assert refused(box, bad, "--format", "cyclonedx", *out) == "bundle_digest"
    changed(tmp_path / "odd.bundle", version="1" * 1025)
    assert refused(box, tmp_path / "odd.bundle", "--format", "cyclonedx", *out) == "bom_invalid"
    assert not (tmp_path / "made.json").exists()


def test_what_it_prints_steers_no_terminal(box: Box, tmp_path: Path) -> None:
    changed(tmp_path / "hostile.bundle", name=HOSTILE)
    for form in ("cyclonedx", "spdx"):
        printed = within(box.folder, "bom", tmp_path / "hostile.bundle", "--format", form).stdout
        assert printed.isascii()
        assert "\x1b" not in printed


@pytest.mark.parametrize(("form", "library"), [("cyclonedx", "cyclonedx"), ("spdx", "spdx_python_model")])
def test_without_the_extra_it_says_what_to_install(
    box: Box, form: str, library: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == library or name == f"toolkit.bom.{form}"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, library, None)
    done = within(box.folder, "bom", GOLDEN, "--format", form)
    assert done.returncode == 2
    assert "pip install 'sealpress[bom]'" in done.stderr
