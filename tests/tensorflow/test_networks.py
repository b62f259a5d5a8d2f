"""ResNet50 and InceptionV3 from TensorFlow's formats to the Open Inference Protocol, in FP32 and in int8."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from policies.gate import Grant, covers
from tests.e2e.served import Served, bearer, verified
from tests.unit.toolkit.compress.conftest import Gated
from toolkit.box import create_box
from toolkit.compress.intake import taken_in
from toolkit.compress.quiet import quiet
from toolkit.runtime.images import ImageReader
from toolkit.runtime.session import Session

with quiet():
    pytest.importorskip("tensorflow", reason="needs the extra tensorflow: make test-tensorflow")
    import onnx

    from tests.tensorflow import networks

COMMAND = Path(sys.executable).with_name("sealpress")
LEARNED, CALIBRATED, ASKED = 128, 16, 48  # pictures, none of them twice
# one form of each goes all the way
FORMS = {"resnet50": "resnet50.keras", "inceptionv3": "inceptionv3"}
IMAGE: dict[str, dict[str, Any]] = {
    "resnet50": {"height": 224, "scale": 1.0, "mean": [103.939, 116.779, 123.68], "channel_order": "bgr"},
    "inceptionv3": {"height": 299, "scale": 1 / 127.5, "mean": [1.0, 1.0, 1.0]},
}
RECIPES = {"resnet50": "int8-static", "inceptionv3": "int8-corrected"}
FEW = 4  # pictures
TOGETHER = 8  # in one call


class Made:
    """A network in `folder`, as NAME.keras and as the SavedModel NAME with papers, the pictures it is pressed with, and
    what Keras's own `predict` says of those that are asked (pictures, classes)."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.folder = folder
        shown = networks.digits(0, LEARNED + CALIBRATED + ASKED)
        self.asked = shown[-ASKED:]
        (folder / "learn").mkdir()
        (folder / "ask").mkdir()
        for number, digit in enumerate(shown[LEARNED:-ASKED]):
            (folder / "learn" / f"{number:02}.png").write_bytes(digit.file)
        lines = []
        for number, digit in enumerate(self.asked):
            (folder / "ask" / f"{number:02}.png").write_bytes(digit.file)
            lines.append(json.dumps({"image": f"{number:02}.png", "label": f"LABEL_{digit.label}"}))
        (folder / "ask" / "items.jsonl").write_text("\n".join(lines))
        with quiet():
            model = networks.network(name, shown[:LEARNED])
            model.save(folder / f"{name}.keras")
            model.export(folder / name, verbose=False)
            self.given = networks.inputs(name, [digit.file for digit in self.asked])
            self.expected: NDArray[np.float32] = model.predict(self.given, batch_size=16, verbose=0)
        how = IMAGE[name]
        papers = {"size": {"height": how["height"], "width": how["height"]}, "resample": 0}
        papers |= {"rescale_factor": how["scale"], "image_mean": how["mean"]}
        papers |= {"do_flip_channel_order": "channel_order" in how}
        (folder / name / "preprocessor_config.json").write_text(json.dumps(papers))


@pytest.fixture(scope="module", params=list(IMAGE))
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Made:
    return Made(request.param, tmp_path_factory.mktemp("networks"))


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
    made: NDArray[Any] = told / told.sum(axis=1, keepdims=True)
    return made


@pytest.mark.slow
def test_a_network_goes_from_tensorflow_to_the_open_inference_protocol_in_int8(made: Made, tmp_path: Path) -> None:
    name, box = made.name, tmp_path / "box"
    labels = [digit.label for digit in made.asked]
    right = float(np.mean(made.expected.argmax(axis=1) == labels))
    assert right > 0.75  # it tells digits apart: agreement says something
    create_box(box)
    source = made.folder / FORMS[name]
    options = ("--recipe", RECIPES[name], "--budget", "fidelity>=0.85")
    options += ("--licence", "Apache-2.0", "--data-licence", "CC-BY-4.0")
    data = ("--calibrate", made.folder / "learn", "--evaluate", made.folder / "ask" / "items.jsonl")
    plan, _, _ = said(box, "compress", source, *data, *options, "--plan")
    pressed, seconds, memory = said(box, "compress", source, *data, *options, "--out", f"{name}.bundle")

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
    # a factor of two is what the plan promises
    assert 0.5 < memory / plan["memory_bytes"] < 1.25

    given, label = asked(box, f"{name}.bundle", manifest["name"], [digit.file for digit in made.asked])
    assert label == [f"LABEL_{number}" for number in given.argmax(axis=1)]
    # what the server says is what was measured, and that against what Keras itself makes of the files
    agreement = float(np.mean(given.argmax(axis=1) == made.expected.argmax(axis=1)))
    assert agreement == pytest.approx(result["fidelity"]["score"]["mean"], abs=1e-6)
    assert agreement >= 0.9
    apart = np.abs(probabilities(given) - made.expected).max(axis=1)
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


@pytest.mark.slow
@pytest.mark.parametrize("made", ["resnet50"], indirect=True)
def test_a_keras_file_and_a_saved_model_with_papers_are_one_function(made: Made, gated: Gated) -> None:
    file, folder = taken_in(made.folder / f"{made.name}.keras"), taken_in(made.folder / made.name)
    assert (file.image, file.labels, file.measure) == (folder.image, folder.labels, folder.measure)
    assert file.image is not None
    built = []
    for source in (file, folder):
        exported = source.load().export()
        session = Session(exported, hashlib.sha256(exported).hexdigest())
        reader = ImageReader(session.inputs, file.image, classes=True)
        feeds = reader.feeds([digit.file for digit in made.asked[:FEW]])
        # the layout and the numbers are those that keras.applications makes of the same files
        [tensor] = feeds.values()
        assert tensor.shape == made.given[:FEW].shape
        assert np.abs(tensor - made.given[:FEW]).max() < 1e-6 * np.abs(made.given).max()

        def run(grant: Grant, session: Session = session, feeds: Any = feeds) -> Any:
            covers(grant, session.digest)
            return session.run(grant, "policy", lambda _: [feeds])

        [[logits]] = gated(source.digest, run)
        assert np.abs(probabilities(logits) - made.expected[:FEW]).max() < 1e-4
        graph = onnx.load_from_string(exported).graph
        built.append(
            (
                Counter(node.op_type for node in graph.node),
                Counter(tuple(tensor.dims) for tensor in graph.initializer),
            )
        )
    assert built[0] == built[1]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet50", "inceptionv3"])
def test_a_server_answers_what_keras_makes_of_the_same_pictures(name: str, tmp_path: Path) -> None:
    box = tmp_path / "box"
    create_box(box)
    files = [digit.file for digit in networks.digits(0, 8)]
    with quiet():
        model = networks.small(name)
        model.save(box / "small.keras")
        expected = model.predict(networks.inputs(name, files, networks.SMALL), verbose=0)
    (box / "floats.toml").write_text('[[step]]\nkind = "equalise"\n')
    options = ("--recipe", "floats.toml", "--licence", "Apache-2.0", "--out", "small.bundle")
    manifest = said(box, "compress", "small.keras", *options)[0]["manifest"]
    assert {**IMAGE[name], "height": networks.SMALL}.items() <= manifest["image"].items()
    given, _ = asked(box, "small.bundle", manifest["name"], files)
    assert np.ptp(expected, axis=0).max() > 0.1  # another picture is another answer
    assert np.abs(probabilities(given) - expected).max() < 1e-4
