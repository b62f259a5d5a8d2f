"""What a model was made from: read from papers and statements, and unknown where nobody says."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from policies import licences
from policies.errors import Fault
from policies.licences import OWN, UNKNOWN, LicenceError
from tests.unit.toolkit.compress.steps.graphs import model_of, numbers
from toolkit.bundle import Bundle
from toolkit.compress import compress, plan
from toolkit.compress.ancestry import Ancestry, ancestors, stated, texts_of
from toolkit.compress.errors import ParentError, SourceError
from toolkit.compress.origin import origin
from toolkit.compress.quiet import quiet
from toolkit.new_box import create_box

with quiet():
    import onnx
    from onnx import helper

LLAMA = "LicenseRef-scancode-llama-3.2-license-2024"


def put(folder: Path, front: str, files: Mapping[str, str] = {}) -> Path:
    """A folder with a model card and other papers."""
    folder.mkdir(parents=True)
    (folder / "README.md").write_text(f"---\n{front}\n---\n")
    for name, text in files.items():
        (folder / name).write_text(text)
    return folder


def told(ancestry: Ancestry) -> list[tuple[str, str, str]]:
    return [(one.name, one.relation, one.licence) for one in ancestry.lineage]


def code(call: Callable[[], Any]) -> str:
    with pytest.raises(Fault) as caught:
        call()
    return caught.value.code


def test_a_statement_names_a_licence_or_a_folder_or_both(tmp_path: Path) -> None:
    (tmp_path / "base").mkdir()
    said = stated([f"a/b={tmp_path}/base", "a/b=mit", "x=y=apache-2.0", "./out=MIT"])
    assert (said["a/b"].licence, said["a/b"].folder) == ("mit", tmp_path / "base")
    assert said["x=y"].licence == "apache-2.0"
    assert said["./out"].folder is None


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["a"], "parent_statement"),
        (["=MIT"], "parent_statement"),
        (["a="], "parent_statement"),
        (["a=MIT", "a=Apache-2.0"], "parent_statement"),
        (["a=./", "a=./"], "parent_statement"),
        (["a=./nothing-here"], "parent_not_found"),
    ],
)
def test_a_statement_of_another_form_is_refused(given: list[str], expected: str) -> None:
    with pytest.raises(ParentError) as caught:
        stated(given)
    assert caught.value.code == expected


def test_an_ancestor_that_nobody_speaks_for_is_unknown(tmp_path: Path) -> None:
    silent = put(tmp_path / "silent", "language: en")
    found = ancestors([("org/a", "merged"), ("org/b", "merged")], stated([f"org/b={silent}"]))
    assert told(found) == [("org/a", "merged", UNKNOWN), ("org/b", "merged", UNKNOWN)]
    assert all(not one.text for one in found.lineage)
    with pytest.raises(LicenceError) as caught:
        licences.must_be_known(found.lineage)
    assert caught.value.code == "licence_ancestor"
    with pytest.raises(LicenceError):
        licences.facts(licences.licence_of(found.lineage))


def test_papers_name_further_ancestors_and_each_counts_once(tmp_path: Path) -> None:
    base = put(tmp_path / "base", "license: llama3.2\nbase_model: org/merge", {"NOTICE": "By Meta."})
    merge = put(tmp_path / "merge", "license: mit\nbase_model: [org/base, org/other]")
    (merge / "model.safetensors").write_bytes(b"weights")
    found = ancestors(
        [("org/merge", "parent")],
        stated([f"org/base={base}/", f"org/merge={merge}", "org/other=cc-by-4.0", "org/unnamed=apache-2.0"]),
    )
    assert told(found) == [
        ("org/merge", "parent", "MIT"),
        ("org/base", "merged", LLAMA),
        ("org/other", "merged", "CC-BY-4.0"),
        ("org/unnamed", "parent", "Apache-2.0"),
    ]
    assert [bool(one.digest) for one in found.lineage] == [True, False, False, False]
    files = texts_of(found.lineage, found.texts)
    pages = licences.pages(files["LICENSE"].decode())
    assert [licences.identify(page) for page in pages] == ["MIT", LLAMA, "CC-BY-4.0", "Apache-2.0"]
    assert [licences.digest(page) for page in pages] == [one.text for one in found.lineage]
    notice = files["NOTICE"].decode()
    assert notice.startswith("By Meta.")
    assert licences.facts(LLAMA).notices[0] in notice
    assert licences.identify_use_policy(files["USE_POLICY"].decode()) == "Llama-3.2-use-policy"


def test_papers_are_never_overruled_and_a_gap_is_filled(tmp_path: Path) -> None:
    silent, said = put(tmp_path / "silent", "language: en"), put(tmp_path / "said", "license: cc-by-nc-4.0")
    assert told(ancestors([("a", "parent")], stated([f"a={silent}", "a=MIT"]))) == [("a", "parent", "MIT")]
    assert code(lambda: ancestors([("a", "parent")], stated([f"a={said}", "a=MIT"]))) == "licence_conflict"
    assert code(lambda: ancestors([("a", "parent")], stated(["a=my-own"]))) == "licence_unknown"
    altered = put(tmp_path / "altered", "", {"LICENSE": licences.text("MIT") + "Not for hospitals."})
    assert code(lambda: ancestors([("a", "parent")], stated([f"a={altered}"]))) == "licence_unknown"


def test_a_lineage_without_end_is_refused() -> None:
    many = [(f"m{number}", "parent") for number in range(40)]
    with pytest.raises(SourceError) as caught:
        ancestors(many, {})  # type: ignore[arg-type] # a list of pairs is wide
    assert caught.value.code == "source_too_large"


def test_a_card_counts_for_a_source_of_any_kind(folder: Path) -> None:
    (folder / "README.md").write_text("---\nlicense: mit\nbase_model: [a, b]\n---\n")
    found = origin(folder, licence=None, parents=["a=mit", "b=cc-by-nc-4.0"], memory=None)
    assert told(found.ancestry) == [
        ("some-model", "parent", "MIT"),
        ("a", "merged", "MIT"),
        ("b", "merged", "CC-BY-NC-4.0"),
    ]
    assert licences.licence_of(found.ancestry.lineage) == "CC-BY-NC-4.0 AND MIT"


class TestPressed:
    """A small graph, pressed through the whole of `compress`."""

    @pytest.fixture
    def place(self, tmp_path: Path) -> Path:
        create_box(tmp_path / "box")
        model = onnx.load_from_string(
            model_of(
                [helper.make_node("Gemm", ["x", "a", "b"], ["y"])],
                {"a": numbers(16, 8), "b": numbers(8)},
                ("batch", 16),
            )
        )
        model.graph.output[0].type.CopyFrom(helper.make_tensor_type_proto(onnx.TensorProto.FLOAT, ["batch", 8]))
        put(tmp_path / "net", "license: mit")
        onnx.save(model, tmp_path / "net" / "Llama-net.onnx")
        return tmp_path

    def press(self, place: Path, **more: Any) -> Bundle:
        data = {"evaluate": [{"x": numbers(1, 16) * n} for n in range(1, 21)], "budget": "fidelity>=0.5"}
        settings = place / "box" / "sealpress.toml"
        given = {"recipe": "int8", "out": place / "net.bundle", "settings": settings, **data, **more}
        return compress(place / "net" / "Llama-net.onnx", **given)

    def test_the_bundle_covers_all_ancestors_and_carries_their_texts(self, place: Path) -> None:
        # of Llama's terms a rule of the pack asks what nobody has declared here
        settings = place / "box" / "sealpress.toml"
        settings.write_text(settings.read_text("utf-8").replace(', "licence"]', "]"), "utf-8")
        card = place / "net" / "README.md"
        card.write_text("---\nlicense: mit\nbase_model: [org/a, org/b]\nbase_model_relation: merge\n---\n")
        learned = [{"x": numbers(1, 16) + n} for n in range(8)]
        bundle = self.press(place, parents=["org/b=cc-by-4.0", "org/a=llama3.2"], calibrate=learned, data_licence=OWN)
        assert bundle.manifest.licence == f"CC-BY-4.0 AND LicenseRef-own AND {LLAMA} AND MIT"
        assert [one.relation for one in bundle.manifest.lineage] == ["parent", "merged", "merged", "calibration"]
        assert sorted(bundle.manifest.files) == ["LICENSE", "NOTICE", "USE_POLICY", "model.onnx"]
        again = Bundle.read(bundle.path, (bundle.signer,))
        assert again.manifest == bundle.manifest
        assert structs.asdict(again.manifest.lineage[3])["text"] is not None

    @pytest.mark.parametrize(
        ("card", "more", "expected"),
        [
            ("license: mit\nbase_model: org/a", {}, "licence_ancestor"),
            ("license: mit\nbase_model: [org/a, org/b]", {"parents": ["org/a=MIT"]}, "licence_ancestor"),
            ("license: mit\nbase_model: org/a", {"parents": ["org/A=MIT"]}, "licence_ancestor"),
            ("license: mit", {"calibrate": [{"x": numbers(1, 16) + 30}]}, "licence_data"),
        ],
    )
    @pytest.mark.parametrize("packs", ['["base", "licence"]', '["base"]'])
    def test_what_is_unknown_is_pressed_by_nobody(
        self, place: Path, card: str, more: dict[str, Any], expected: str, packs: str
    ) -> None:
        (place / "net" / "README.md").write_text(f"---\n{card}\n---\n")
        settings = place / "box" / "sealpress.toml"
        lines = [
            f"packs = {packs}" if line.startswith("packs = ") else line for line in settings.read_text().splitlines()
        ]
        settings.write_text("\n".join(lines))
        assert code(lambda: self.press(place, **more)) == expected
        assert not (place / "net.bundle").exists()
        # a plan may be made, and says so
        told = plan(place / "net" / "Llama-net.onnx", recipe="int8", settings=settings, **more)
        assert UNKNOWN in told.licence

    def test_a_plan_says_what_the_run_would(self, place: Path) -> None:
        (place / "net" / "README.md").write_text("---\nlicense: mit\n---\n")
        model, settings = place / "net" / "Llama-net.onnx", place / "box" / "sealpress.toml"
        assert plan(model, recipe="int8", settings=settings).stated_until is None
        more: dict[str, Any] = {"recipe": "int8", "settings": settings, "parents": ["a=MIT"]}
        assert plan(model, licence_until=date(2999, 1, 1), **more).stated_until == date(2262, 4, 11)
        assert code(lambda: plan(model, licence_until=date(2020, 1, 1), **more)) == "licence_expired"
        assert code(lambda: plan(model, memory=1, **more)) == "source_too_large"

    def test_the_refusal_is_the_policys_and_on_record(self, place: Path) -> None:
        from tests.commands import within

        (place / "net" / "README.md").write_text("---\nlicense: mit\nbase_model: org/a\n---\n")
        assert code(lambda: self.press(place)) == "licence_ancestor"
        key = place / "box-auditor" / "auditor.key"
        done = within(place / "box", "journal", "query", "--auditor-key", str(key), "--by", "rule", "--json")
        assert done.returncode == 0, done.stderr
        assert {"rule": "licence.known", "calls": 1} in json.loads(done.stdout)["groups"]
