"""ResNet50 and InceptionV3 from TensorFlow's formats to the Open Inference Protocol, pressed to int8."""

from __future__ import annotations

import base64
import json
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.e2e.served import Served, bearer, verified
from toolkit.compress.quiet import quiet
from toolkit.new_box import create_box

with quiet():
    pytest.importorskip("tensorflow", reason="needs the extra tensorflow: make test-tensorflow")
    from tests.tensorflow import networks

COMMAND = Path(sys.executable).with_name("sealpress")
LEARNED, CALIBRATED, ASKED = 128, 16, 48  # pictures, none of them twice
TOGETHER = 8  # in one call
FORMS = {"resnet50": "resnet50.keras", "inceptionv3": "inceptionv3"}  # one form of each goes all the way
IMAGE: dict[str, dict[str, Any]] = {
    "resnet50": {"height": 224, "scale": 1.0, "mean": [103.939, 116.779, 123.68], "channel_order": "bgr"},
    "inceptionv3": {"height": 299, "scale": 1 / 127.5, "mean": [1.0, 1.0, 1.0]},
}
RECIPES = {"resnet50": "int8-static", "inceptionv3": "int8-corrected"}


def made(name: str, folder: Path, shown: list[networks.Digit]) -> NDArray[np.float32]:
    """A network in `folder`, with papers where its form has none; and what Keras's own `predict` says of the pictures
    that are asked (pictures, classes)."""
    with quiet():
        model = networks.network(name, shown[:LEARNED])
        if FORMS[name].endswith(".keras"):
            model.save(folder / FORMS[name])
        else:
            model.export(folder / FORMS[name], verbose=False)
            how = IMAGE[name]
            papers = {"size": {"height": how["height"], "width": how["height"]}, "resample": 0}
            papers |= {"rescale_factor": how["scale"], "image_mean": how["mean"]}
            (folder / FORMS[name] / "preprocessor_config.json").write_text(json.dumps(papers))
        given = networks.inputs(name, [digit.file for digit in shown[-ASKED:]])
        expected: NDArray[np.float32] = model.predict(given, batch_size=16, verbose=0)
    return expected


def put(shown: list[networks.Digit], folder: Path) -> Path:
    """Folder of the pictures, with the file items.jsonl that says which digit each shows."""
    folder.mkdir()
    lines = []
    for number, digit in enumerate(shown):
        (folder / f"{number:02}.png").write_bytes(digit.file)
        lines.append(json.dumps({"image": f"{number:02}.png", "label": f"LABEL_{digit.label}"}))
    (folder / "items.jsonl").write_text("\n".join(lines))
    return folder / "items.jsonl"


def said(box: Path, *arguments: str | Path) -> tuple[dict[str, Any], float, int]:
    """What the command prints, the seconds it took, and the most bytes that it held."""
    started, memory = time.monotonic(), 0
    with (box / "said.json").open("wb") as output, (box / "said.log").open("wb") as errors:
        process = subprocess.Popen([COMMAND, *arguments, "--json"], cwd=box, stdout=output, stderr=errors)
        while process.poll() is None:
            status = Path(f"/proc/{process.pid}/status").read_text()
            memory = 1024 * int(found[1]) if (found := re.search(r"^VmHWM:\s*(\d+) kB$", status, re.M)) else memory
            time.sleep(0.1)
    assert process.returncode == 0, (box / "said.json").read_text() + (box / "said.log").read_text()
    return json.loads((box / "said.json").read_text()), time.monotonic() - started, memory


def asked(box: Path, bundle: str, model: str, files: list[bytes]) -> tuple[NDArray[np.float64], list[str]]:
    """What a server answers to encoded pictures by the Open Inference Protocol: logits (pictures, classes), labels."""
    scores, labels = [], []
    with Served(box, bundle) as server:
        headers = bearer(server.key())
        for start in range(0, len(files), TOGETHER):
            data = [base64.b64encode(file).decode() for file in files[start : start + TOGETHER]]
            body = {
                "inputs": [{"name": "image", "datatype": "BYTES", "shape": [len(data)], "data": data}],
                "outputs": [{"name": "logits"}, {"name": "label"}],
                "parameters": {"purpose": "search"},
            }
            answer = server.http.post(f"/v2/models/{model}/infer", json=body, headers=headers)
            assert answer.status_code == 200, answer.text
            logits, label = answer.json()["outputs"]
            scores.append(np.array(logits["data"]).reshape(logits["shape"]))
            labels += label["data"]
    return np.concatenate(scores), labels


def probabilities(logits: NDArray[Any]) -> NDArray[Any]:
    told = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares: NDArray[Any] = told / told.sum(axis=1, keepdims=True)
    return shares


@pytest.mark.slow
@pytest.mark.parametrize("name", list(IMAGE))
def test_a_network_goes_from_tensorflow_to_the_open_inference_protocol_in_int8(name: str, tmp_path: Path) -> None:
    shown = networks.digits(LEARNED + CALIBRATED + ASKED)
    expected = made(name, tmp_path, shown)
    labels = [digit.label for digit in shown[-ASKED:]]
    right = float(np.mean(expected.argmax(axis=1) == labels))
    assert right > 0.75  # it tells digits apart: agreement says something
    box = tmp_path / "box"
    create_box(box)
    source = tmp_path / FORMS[name]
    options: list[str | Path] = [
        *("--recipe", RECIPES[name], "--budget", "fidelity>=0.85"),
        *("--calibrate", put(shown[LEARNED:-ASKED], tmp_path / "learn"), "--data-licence", "CC-BY-4.0"),
        *("--evaluate", put(shown[-ASKED:], tmp_path / "ask"), "--licence", "Apache-2.0"),
    ]
    plan, _, _ = said(box, "compress", source, *options, "--plan")
    pressed, seconds, memory = said(box, "compress", source, *options, "--out", f"{name}.bundle")

    manifest = pressed["manifest"]
    assert manifest["task"] == "image-classification"
    assert IMAGE[name].items() <= manifest["image"].items()
    assert manifest["image"]["channels_last"] is True
    assert manifest["image"]["resample"] == "nearest"
    side = IMAGE[name]["height"]
    assert [one["shape"] for one in manifest["inputs"]] == [["batch", side, side, 3]]
    assert {"keras", "tensorflow-cpu", "tf2onnx"} <= manifest["versions"].keys()

    report = json.loads((box / f"{name}.run" / "report.json").read_text())
    result = report["trials"][0]["result"]
    assert report["export_error"] < 2e-4
    assert result["fidelity"]["measure"] == "agreement"
    assert any("int8" in one["inputs"] for one in result["kernels"])
    assert result["size_bytes"] < 0.27 * report["before"]["size_bytes"]
    assert 0.5 < memory / plan["memory_bytes"] < 1.1

    given, label = asked(box, f"{name}.bundle", manifest["name"], [digit.file for digit in shown[-ASKED:]])
    assert label == [f"LABEL_{number}" for number in given.argmax(axis=1)]
    # what the server says is what was measured, and that against what Keras itself makes of the files
    agreement = float(np.mean(given.argmax(axis=1) == expected.argmax(axis=1)))
    assert agreement == pytest.approx(result["fidelity"]["score"]["mean"], abs=1e-6)
    assert agreement >= 0.85
    apart = np.abs(probabilities(given) - expected).max(axis=1)
    verified(box)
    print(  # noqa: T201 - the figures of the run, which make shows
        f"\n{FORMS[name]}: right of {ASKED} digits: Keras {right:.3f}, int8 over HTTP "
        f"{np.mean(given.argmax(axis=1) == labels):.3f}; agreement with Keras {agreement:.3f}, probabilities apart "
        f"by at most {apart.max():.3f}, {np.median(apart):.3f} in the median; export error "
        f"{report['export_error']:.2g}; {report['before']['size_bytes'] / 1e6:.1f} MB -> "
        f"{result['size_bytes'] / 1e6:.1f} MB, {result['latency_before_ms']:.0f} ms -> {result['latency_ms']:.0f} ms; "
        f"pressed in {seconds:.0f} s with {memory / 1e9:.2f} GB, planned {plan['seconds']:.0f} s with "
        f"{plan['memory_bytes'] / 1e9:.2f} GB"
    )
