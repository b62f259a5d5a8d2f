"""From what a person has to a bundle: a text classifier, images, a module; and what is told before anything is done."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import sealpress
from policies.errors import Fault
from policies.facts import Call, Manifest
from policies.gate import Grant, gate
from policies.payload import Payload
from tests.commands import within
from tests.unit.toolkit.compress.conftest import CONFIG, Allowing, Recording, make_tiny
from toolkit.compress.measure import evaluation_texts
from toolkit.compress.quiet import quiet
from toolkit.compress.sources.pictures import made_up_pictures
from toolkit.new_box import create_box
from toolkit.runtime.inputs import ImageInput
from toolkit.runtime.lane import Lane

with quiet():
    import torch

IMAGE = ImageInput(height=32, width=32)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sources")
    create_box(folder / "box")
    labels = {"id2label": {"0": "calm", "1": "urgent"}}
    make_tiny(folder / "urgency", {**CONFIG, "architectures": ["BertForSequenceClassification"], **labels})
    vit = {"model_type": "vit", "architectures": ["ViTForImageClassification"], "image_size": 32, "patch_size": 8}
    make_tiny(folder / "wounds", {**CONFIG, **vit, "id2label": {"0": "open", "1": "closed"}})
    (folder / "photos").mkdir()
    for number, picture in enumerate(made_up_pictures(IMAGE, 12, 5).items):
        (folder / "photos" / f"{number}.png").write_bytes(picture)
    texts = evaluation_texts()
    lines = [
        json.dumps({"text": text, "label": "calm" if number % 2 else "urgent"}) for number, text in enumerate(texts)
    ]
    (folder / "labelled.jsonl").write_text("\n".join(lines[20:]))
    (folder / "learn.txt").write_text("\n".join(texts[:20]))
    return folder


def said(place: Path, *arguments: str, exit_status: int = 0) -> Any:
    done = within(place / "box", "compress", *arguments, "--json")
    assert done.returncode == exit_status, done.stdout + done.stderr
    return json.loads(done.stdout)


def answers(bundle: sealpress.Bundle, blobs: dict[str, bytes], value: dict[str, Any]) -> Any:
    """What a bundle that was read gives, as a server would run it: through its own reader."""
    manifest = bundle.manifest

    def work(grant: Grant) -> Any:
        (outputs,) = Lane(bundle.model, manifest.digest, bundle.reader()).run([grant], "policy")
        assert not isinstance(outputs, Fault)
        return next(iter(outputs.values()))

    model = Manifest(
        format=1, name="m", version="", digest=manifest.digest, task="x", licence="MIT", inputs=(), outputs=()
    )
    call = Call(id="1", at=0, actor="a", tenant="t", action="infer", model=manifest.digest)
    return gate(Allowing(), model, call, Payload.checked(value, blobs), Recording(), work)


@pytest.mark.slow
def test_a_bundle_of_a_text_classifier_takes_texts_and_knows_its_labels(place: Path) -> None:
    made = said(place, str(place / "urgency"), "--evaluate", str(place / "labelled.jsonl"), "--out", "u.bundle")
    assert made["manifest"]["labels"] == ["calm", "urgent"]
    assert made["manifest"]["task"] == "text-classification"
    run = json.loads((place / "box" / "u.run" / "report.json").read_text())
    result = run["trials"][0]["result"]
    assert result["fidelity"]["measure"] == "agreement"
    assert result["task"].keys() == {"accuracy"}
    assert {"label calm", "label urgent"} <= {one["name"] for one in result["fidelity"]["slices"]}
    assert result["memory_bytes"] > 0
    assert abs(sum(kernel["share"] for kernel in result["kernels"]) - 1) < 1e-6
    assert any("int8" in kernel["inputs"] for kernel in result["kernels"])
    bundle = sealpress.Bundle.read(place / "box" / "u.bundle", {signer(place)})
    assert answers(bundle, {}, {"texts": ["one", "and another"]}).shape == (2, 2)


@pytest.mark.slow
def test_a_bundle_of_an_image_classifier_takes_pictures(place: Path) -> None:
    photos = str(place / "photos")
    made = said(place, str(place / "wounds"), "--evaluate", photos, "--out", "w.bundle", "--recipe", "int8")
    assert made["manifest"]["image"]["height"] == 32
    assert made["manifest"]["labels"] == ["open", "closed"]
    bundle = sealpress.Bundle.read(place / "box" / "w.bundle", {signer(place)})
    blobs = {"a": (place / "photos" / "0.png").read_bytes()}
    assert answers(bundle, blobs, {"images": ["a"]}).shape == (1, 2)


@pytest.mark.slow
def test_a_module_is_pressed_in_python(place: Path) -> None:
    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Linear(16, 64), torch.nn.ReLU(), torch.nn.Linear(64, 8))
    inputs = torch.randn(40, 16)
    given: dict[str, Any] = {
        "calibrate": list(inputs[:20, None]),
        "data_licence": "LicenseRef-own",
        "evaluate": list(inputs[20:, None]),
        "settings": place / "box" / "sealpress.toml",
    }
    bundle = sealpress.compress(
        module, example=inputs[:1], recipe="int8-static", licence="MIT", out=place / "n.bundle", **given
    )
    assert bundle.measurements.after.fidelity > 0.99
    assert bundle.manifest.inputs[0].shape == ("batch", 16)
    with pytest.raises(Fault) as caught:
        sealpress.compress(module, licence="MIT", out=place / "o.bundle", settings=place / "box" / "sealpress.toml")
    assert caught.value.code == "source_examples"


def test_a_plan_says_what_would_be_done_and_does_nothing(place: Path) -> None:
    before = sorted(path.name for path in (place / "box").iterdir())
    data = ["--calibrate", str(place / "learn.txt"), "--evaluate", str(place / "labelled.jsonl")]
    data += ["--data-licence", "LicenseRef-own"]
    plan = said(place, str(place / "urgency"), "--plan", "--budget", "fidelity>=0.9", "--trials", "4", *data)
    assert [one["name"] for one in plan["recipes"]] == ["int8", "int8-static", "int8-smooth", "w8-t4"]
    assert plan["recipes"][2]["steps"] == ["smooth-quant", "static-int8"]
    assert plan["fp32_bytes"] == 4 * plan["parameters"] > 0
    assert plan["seconds"] > 0
    assert max(one["memory_bytes"] for one in plan["recipes"]) == plan["memory_bytes"]
    assert sorted(path.name for path in (place / "box").iterdir()) == before
    one = said(place, str(place / "urgency"), "--plan", "--recipe", "w4-t4")
    assert [recipe["name"] for recipe in one["recipes"]] == ["w4-t4"]


@pytest.mark.slow
def test_a_run_that_would_take_more_memory_than_it_may_is_refused(tmp_path: Path, place: Path) -> None:
    large = make_tiny(tmp_path / "large", {**CONFIG, "hidden_size": 256, "intermediate_size": 1024})
    error = said(place, str(large), "--out", "l.bundle", "--memory", "1", exit_status=1)
    assert error["code"] == "source_too_large"
    assert not (place / "box" / "l.bundle").exists()


@pytest.mark.slow
def test_a_diagnosis_names_layers_and_channels_and_hands_nothing_out(place: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    loud = make_tiny(tmp_path / "loud", CONFIG)
    tensors = load_file(loud / "model.safetensors")
    tensors["embeddings.LayerNorm.weight"][3] = 50.0
    save_file(tensors, loud / "model.safetensors")
    before = sorted(path.name for path in (place / "box").iterdir())
    data = ["--calibrate", str(place / "learn.txt"), "--evaluate", str(place / "labelled.jsonl")]
    data += ["--data-licence", "LicenseRef-own"]
    found = said(place, "diagnose", str(loud), *data)
    assert found["recipe"] == "int8-static"
    assert {one["kind"] for one in found["layers"]} == {"MatMul", "LayerNormalization"}
    assert found["sensitivity"][0]["lost"] >= found["sensitivity"][-1]["lost"] > 0
    assert len(found["sensitivity"]) == 6
    assert found["outliers"][0]["channel"] == 3
    assert found["outliers"][0]["times"] > 6
    assert sorted(path.name for path in (place / "box").iterdir()) == before


def signer(place: Path) -> str:
    import tomllib

    settings = tomllib.loads((place / "box" / "sealpress.toml").read_text())
    trusted = settings["trust"]["signers"]
    assert len(trusted) == 1
    assert isinstance(trusted[0], str)
    return trusted[0]
