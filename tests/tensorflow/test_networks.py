"""A tiny network that has the name of ResNet50, from Keras to the Open Inference Protocol."""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.e2e.served import Served, bearer, verified
from toolkit.box import create_box
from toolkit.compress.intake import taken_in
from toolkit.compress.quiet import quiet

with quiet():
    pytest.importorskip("tensorflow", reason="needs the extra tensorflow: make test-tensorflow")
    from tests.tensorflow import networks

COMMAND = Path(sys.executable).with_name("sealpress")
LEARN, KNOWN = 8, 16  # pictures
OPTIONS = ("--recipe", "int8-corrected", "--licence", "Apache-2.0")
IMAGE: dict[str, dict[str, Any]] = {
    "tiny": {"height": 32, "scale": 1.0, "mean": [103.939, 116.779, 123.68], "channel_order": "bgr"},
}


class Made:
    """A network of keras.applications in `folder`, as NAME.keras and as the SavedModel NAME, the pictures that it
    knows, and what Keras's own `predict` says of them, (pictures, classes)."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.folder = folder
        with quiet():
            model = networks.network(name, KNOWN)
            model.save(folder / f"{name}.keras")
            model.export(folder / name, verbose=False)
            self.known = networks.pictures(model, KNOWN, networks.KNOWN)
            self.others = networks.pictures(model, LEARN, 2)
            self.expected = model.predict(networks.inputs(name, self.known), batch_size=4, verbose=0)


@pytest.fixture(scope="module", params=list(IMAGE))
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Made:
    return Made(request.param, tmp_path_factory.mktemp("networks"))


@pytest.mark.slow
def test_a_saved_model_with_papers_makes_the_same_graph_as_the_keras_file(made: Made) -> None:
    how = IMAGE[made.name]
    papers = {"size": {"height": how["height"], "width": how["height"]}, "resample": 0, "rescale_factor": how["scale"]}
    papers |= {"image_mean": how["mean"], "do_flip_channel_order": "channel_order" in how}
    (made.folder / made.name / "preprocessor_config.json").write_text(json.dumps(papers))
    file, folder = taken_in(made.folder / f"{made.name}.keras"), taken_in(made.folder / made.name)
    assert (file.image, file.labels, file.measure) == (folder.image, folder.labels, folder.measure)
    assert len({hashlib.sha256(source.load().export()).hexdigest() for source in (file, folder)}) == 1


@pytest.mark.slow
def test_a_network_goes_from_keras_to_the_open_inference_protocol(made: Made, tmp_path: Path) -> None:
    name, expected = made.name, made.expected
    assert expected.argmax(axis=1).tolist() == list(range(KNOWN))  # it tells them apart: agreement says something
    create_box(tmp_path / "box")
    data: list[str | Path] = [
        *("--calibrate", networks.put(made.others, tmp_path / "others"), "--data-licence", "LicenseRef-own"),
        *("--evaluate", networks.put(made.known, tmp_path / "known")),
    ]
    done = subprocess.run(
        [COMMAND, "compress", made.folder / f"{name}.keras", *data, *OPTIONS, "--out", f"{name}.bundle", "--json"],
        cwd=tmp_path / "box",
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    manifest = json.loads(done.stdout)["manifest"]
    assert manifest["task"] == "image-classification"
    assert IMAGE[name].items() <= manifest["image"].items()
    assert manifest["image"]["channels_last"] is True
    side = IMAGE[name]["height"]
    assert [one["shape"] for one in manifest["inputs"]] == [["batch", side, side, 3]]
    assert {"keras", "tensorflow-cpu", "tf2onnx"} <= manifest["versions"].keys()

    report = json.loads((tmp_path / "box" / f"{name}.run" / "report.json").read_text())
    result = report["trials"][0]["result"]
    assert report["export_error"] < 2e-4
    assert result["fidelity"]["measure"] == "agreement"
    assert any("int8" in one["inputs"] for one in result["kernels"])
    assert result["size_bytes"] < 0.5 * report["before"]["size_bytes"]

    body = {
        "inputs": [
            {
                "name": "image",
                "datatype": "BYTES",
                "shape": [KNOWN],
                "data": [base64.b64encode(file).decode() for file in made.known],
            }
        ],
        "outputs": [{"name": "logits"}, {"name": "label"}],
        "parameters": {"purpose": "search"},
    }
    with Served(tmp_path / "box", f"{name}.bundle") as server:
        answer = server.http.post(f"/v2/models/{manifest['name']}/infer", json=body, headers=bearer(server.key()))
    assert answer.status_code == 200, answer.text
    logits, label = answer.json()["outputs"]
    given = np.array(logits["data"]).reshape(logits["shape"])
    assert label["data"] == [f"LABEL_{number}" for number in given.argmax(axis=1)]
    # what the server says is what was measured, and that against what Keras itself makes of the files
    agreement = float(np.mean(given.argmax(axis=1) == expected.argmax(axis=1)))
    assert agreement == pytest.approx(result["fidelity"]["score"]["mean"], abs=1e-6)
    assert agreement >= 0.95
    told = np.exp(given - given.max(axis=1, keepdims=True))
    told /= told.sum(axis=1, keepdims=True)
    correlation = np.mean([np.corrcoef(np.log(a), np.log(b))[0, 1] for a, b in zip(told, expected, strict=True)])
    assert correlation > 0.9
    verified(tmp_path / "box")
    print(  # noqa: T201 - the figures of the run, which make shows
        f"\n{name}: export error {report['export_error']:.2g}, {report['before']['size_bytes'] / 1e6:.1f} MB -> "
        f"{result['size_bytes'] / 1e6:.1f} MB, {result['latency_before_ms']:.0f} ms -> {result['latency_ms']:.0f} ms, "
        f"agreement with Keras over HTTP {agreement:.3f} of {KNOWN} pictures, correlation {correlation:.4f}"
    )
