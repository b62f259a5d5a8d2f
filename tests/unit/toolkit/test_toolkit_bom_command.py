"""The command that writes bills of materials: of whom it takes bundles, sealed ones too, and what it says."""

from __future__ import annotations

import json
import sys
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


@pytest.fixture
def box(tmp_path: Path) -> Box:
    return trusting_box(tmp_path)


def refused(box: Box, *arguments: str | Path) -> str:
    done = within(box.folder, "bom", *arguments, "--json")
    assert done.returncode == 1
    code: str = json.loads(done.stdout)["code"]
    return code


@pytest.mark.parametrize(("form", "key"), [("cyclonedx", "serialNumber"), ("spdx", "@graph")])
def test_it_prints_or_writes_the_same_document(box: Box, form: str, key: str) -> None:
    with closing(box.journal):
        printed = within(box.folder, "bom", GOLDEN, "--format", form)
        assert printed.returncode == 0, printed.stderr
        assert key in json.loads(printed.stdout)
        done = within(box.folder, "bom", GOLDEN, "--format", form, "--out", "made.json", "--json")
        assert json.loads(done.stdout)["format"] == form
        assert (box.folder / "made.json").read_text("utf-8") == printed.stdout
        assert refused(box, GOLDEN, "--format", form, "--out", "made.json") == "bundle_exists"
        said = within(box.folder, "bom", GOLDEN, "--format", form, "--out", "again.json").stdout
        assert said == "again.json: golden 1, MIT\n"


def test_it_takes_the_times_and_the_address_that_are_given(box: Box) -> None:
    told = (
        "--created",
        "2026-11-29T12:00:00Z",
        "--released",
        "2026-11-28T00:00:00Z",
        "--location",
        "https://a.example",
    )
    with closing(box.journal):
        found: dict[str, Any] = json.loads(within(box.folder, "bom", GOLDEN, "--format", "spdx", *told).stdout)
        (model,) = [one for one in found["@graph"] if one["type"] == "ai_AIPackage"]
        assert model["releaseTime"] == "2026-11-28T00:00:00Z"
        assert model["software_downloadLocation"] == "https://a.example"
        late = within(box.folder, "bom", GOLDEN, "--format", "spdx", "--created", "yesterday", "--json")
        assert late.returncode == 2
        assert json.loads(late.stdout)["code"] == "usage"


def test_of_a_sealed_bundle_the_same_is_told_unopened(box: Box) -> None:
    with closing(box.journal):
        put_bundle(box.folder / "m.bundle")
        seal(
            box,
            box.folder / "m.bundle",
            [recipient(box.folder / "keys" / "sealing.pub")],
            box.folder / "m.sealed",
            Context(purpose="search"),
        )
        plain = within(box.folder, "bom", "m.bundle", "--format", "cyclonedx").stdout
        before = (box.journal_folder / "shard-000.log").read_bytes()
        (box.folder / "keys" / "sealing.key").unlink()
        assert within(box.folder, "bom", "m.sealed", "--format", "cyclonedx").stdout == plain
        assert (box.journal_folder / "shard-000.log").read_bytes() == before


def test_it_takes_no_bundle_that_does_not_hold(box: Box, tmp_path: Path) -> None:
    with closing(box.journal):
        put_bundle(tmp_path / "strange.bundle", signer=Signer.generate())
        assert refused(box, tmp_path / "strange.bundle", "--format", "spdx") == "bundle_signer"
        bad = HERE / "attacks" / "flipped-bit-in-the-weights"
        assert refused(box, bad, "--format", "cyclonedx", "--out", "made.json") == "bundle_digest"
        changed(tmp_path / "odd.bundle", version="1" * 1025)
        assert refused(box, tmp_path / "odd.bundle", "--format", "cyclonedx", "--out", "made.json") == "bom_invalid"
        assert not (box.folder / "made.json").exists()


def test_what_it_prints_steers_no_terminal(box: Box, tmp_path: Path) -> None:
    with closing(box.journal):
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
    with closing(box.journal):
        done = within(box.folder, "bom", GOLDEN, "--format", form)
    assert done.returncode == 2
    assert "pip install 'sealpress[bom]'" in done.stderr
