"""`sealpress licence`: what a text is, what it says, and what a bundle may be used for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from msgspec import structs

from policies import licences
from policies.facts import Ancestor
from policies.licences import LicenceError
from policies.licences.table import use_policy_text
from tests.bundles import GOLDEN, trusting_box
from tests.vectors.make_bundles import SIGNER
from toolkit.bundle import Bundle, BundleError, write_bundle
from toolkit.commands.licence import licence

LLAMA = "LicenseRef-scancode-llama-3.2-license-2024"


def run(*arguments: object) -> Any:
    done = CliRunner().invoke(licence, [*map(str, arguments), "--json"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return json.loads(done.output)


def refused(*arguments: object) -> str:
    with pytest.raises((LicenceError, BundleError)) as caught:
        CliRunner().invoke(licence, [*map(str, arguments)], catch_exceptions=False)
    return caught.value.code


def test_show_lists_what_is_known_and_tells_where_each_fact_stands() -> None:
    assert {one["spdx"] for one in run("show")["licences"]} == licences.entries().keys()
    found = run("show", "llama3.2")
    assert found["spdx"] == LLAMA
    assert found["facts"]["users"]["value"] == 700_000_000
    assert found["facts"]["multimodal"]["url"].endswith("use-policy")
    text = CliRunner().invoke(licence, ["show", "llama3.2"]).output
    assert "Acceptable Use Policy, https://www.llama.com/llama3_2/use-policy\n" in text
    assert "share_alike    not said" in text
    assert "territories    none named" in text
    assert refused("show", "my-licence") == "licence_unknown"


def test_check_knows_a_text_by_its_words(tmp_path: Path) -> None:
    (tmp_path / "LICENSE").write_text(licences.text(LLAMA))
    (tmp_path / "USE_POLICY.md").write_text(use_policy_text("Llama-4-use-policy"))
    (tmp_path / "README.md").write_text("anything")
    files = run("check", tmp_path)["files"]
    assert [(one["licence"], one["use_policy"]) for one in files] == [(LLAMA, None), (None, "Llama-4-use-policy")]
    assert files[0]["digest"] in licences.known(LLAMA).wordings
    assert run("check", tmp_path / "LICENSE")["files"] == files[:1]
    (tmp_path / "LICENSE").write_text(licences.text(LLAMA).replace("700 million", "7 million", 1))
    assert refused("check", tmp_path) == "licence_unknown"
    assert refused("check", tmp_path / "README.md") == "licence_unknown"
    (tmp_path / "empty").mkdir()
    assert refused("check", tmp_path / "empty") == "licence_missing"


def test_explain_tells_which_ancestor_decides(tmp_path: Path) -> None:
    box = trusting_box(tmp_path)
    golden = Bundle.read(GOLDEN, box.trusted())
    parent = Ancestor(name="big", digest="00" * 32, licence="MIT", relation="parent")
    data = Ancestor(name="texts.txt", digest="11" * 32, licence="CC-BY-NC-4.0", relation="calibration")
    draft = structs.replace(
        golden.manifest, lineage=(parent, data), licence=licences.together([parent.licence, data.licence])
    )
    files = {file: (GOLDEN / file).read_bytes() for file in golden.manifest.files}
    write_bundle(tmp_path / "both.bundle", draft, files, golden.measurements, SIGNER)
    settings = ("--settings", box.path)
    found = run("explain", tmp_path / "both.bundle", *settings)
    assert found["licence"] == "CC-BY-NC-4.0 AND MIT"
    facts = {one["fact"]: (one["value"], one["by"]) for one in found["facts"]}
    assert facts["commercial"] == (False, ["CC-BY-NC-4.0"])
    assert facts["derive"] == ("share", ["MIT", "CC-BY-NC-4.0"])
    told = CliRunner().invoke(licence, ["explain", str(tmp_path / "both.bundle"), *map(str, settings)]).output
    assert "calibration  texts.txt  CC-BY-NC-4.0" in told
    assert run("explain", GOLDEN, *settings)["licence"] == "MIT"


def test_explain_tells_which_texts_travel(tmp_path: Path) -> None:
    box = trusting_box(tmp_path)
    settings = ("--settings", box.path)
    found = run("explain", GOLDEN.with_name("golden-lineage-v1"), *settings)
    assert [(one["file"], one["text"]) for one in found["texts"]] == [
        ("LICENSE", "MIT"),
        ("LICENSE", LLAMA),
        ("LICENSE", "Apache-2.0"),
        ("LICENSE", "CC-BY-4.0"),
        ("USE_POLICY", "Llama-3.2-use-policy"),
        ("NOTICE", None),
    ]
    told = CliRunner().invoke(licence, ["explain", str(GOLDEN), *map(str, settings)]).output
    assert "LICENSE      unknown, or altered" in told


def test_explain_takes_no_bundle_of_a_stranger(tmp_path: Path) -> None:
    from toolkit.new_box import create_box

    create_box(tmp_path / "box")
    assert refused("explain", GOLDEN, "--settings", tmp_path / "box" / "sealpress.toml") == "bundle_signer"
