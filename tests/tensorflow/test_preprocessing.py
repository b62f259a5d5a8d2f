"""A server answers in FP32 what Keras makes of the same pictures; a SavedModel with papers is the same to it."""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
import sys
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.e2e.served import Served, bearer
from toolkit.compress.intake import taken_in
from toolkit.compress.quiet import quiet
from toolkit.compress.sources.pictures import made_up_pictures
from toolkit.new_box import create_box
from toolkit.runtime.inputs import ImageInput

with quiet():
    pytest.importorskip("tensorflow", reason="needs the extra tensorflow: make test-tensorflow")
    import keras

COMMAND = Path(sys.executable).with_name("sealpress")
SIDE, PICTURES = 32, 6
# so sharp that another picture is another answer, from numbers around 100 and from numbers around 1
SHARP = {"resnet50": 0.16, "inception_v3": 4.0}
MODULES = {"resnet50": keras.applications.resnet50, "inception_v3": keras.applications.inception_v3}
IMAGE: dict[str, dict[str, Any]] = {
    "resnet50": {"scale": 1.0, "mean": [103.939, 116.779, 123.68], "channel_order": "bgr"},
    "inception_v3": {"scale": 1 / 127.5, "mean": [1.0, 1.0, 1.0]},
}


def small(name: str) -> Any:
    """Three convolutions with random weights of one seed, under the name that keras.applications gives a network."""
    keras.utils.set_random_seed(8)
    layers = keras.layers
    photo = x = layers.Input((SIDE, SIDE, 3), name="photo")
    for filters in (16, 32, 64):
        x = layers.Conv2D(filters, 3, strides=2, padding="same", activation="relu")(x)
    sharp = keras.initializers.RandomNormal(stddev=SHARP[name], seed=8)
    scores = layers.Dense(10, "softmax", kernel_initializer=sharp)(layers.GlobalAveragePooling2D()(x))
    return keras.Model(photo, scores, name=name)


def predicted(model: Any, files: list[bytes]) -> Any:
    """Probabilities (pictures, classes), with what keras.applications itself makes of the files."""
    size = (SIDE, SIDE)
    loaded = [keras.utils.img_to_array(keras.utils.load_img(BytesIO(file), target_size=size)) for file in files]
    return model.predict(MODULES[model.name].preprocess_input(np.stack(loaded)), verbose=0)


@pytest.mark.slow
@pytest.mark.parametrize("name", list(IMAGE))
def test_a_server_answers_what_keras_makes_of_the_same_pictures(name: str, tmp_path: Path) -> None:
    box = tmp_path / "box"
    create_box(box)
    files = list(made_up_pictures(ImageInput(height=SIDE, width=SIDE), PICTURES, 1).items)
    with quiet():
        model = small(name)
        model.save(box / "small.keras")
        expected = predicted(model, files)
    (box / "floats.toml").write_text('[[step]]\nkind = "equalise"\n')  # floats that compute the same
    done = subprocess.run(
        [COMMAND, "compress", "small.keras", "--recipe", "floats.toml", "--licence", "MIT", "--out", "b", "--json"],
        cwd=box,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    manifest = json.loads(done.stdout)["manifest"]
    assert {**IMAGE[name], "height": SIDE, "width": SIDE, "channels_last": True}.items() <= manifest["image"].items()
    data = [base64.b64encode(file).decode() for file in files]
    body = {
        "inputs": [{"name": "image", "datatype": "BYTES", "shape": [PICTURES], "data": data}],
        "outputs": [{"name": "logits"}],
        "parameters": {"purpose": "search"},
    }
    with Served(box, "b") as server:
        answer = server.http.post(f"/v2/models/{manifest['name']}/infer", json=body, headers=bearer(server.key()))
    assert answer.status_code == 200, answer.text
    [logits] = answer.json()["outputs"]
    told = np.exp(np.array(logits["data"]).reshape(logits["shape"]))
    told /= told.sum(axis=1, keepdims=True)
    assert np.ptp(expected, axis=0).max() > 0.1  # another picture is another answer
    assert np.abs(told - expected).max() < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("name", list(IMAGE))
def test_a_saved_model_with_papers_makes_the_same_graph_as_the_keras_file(name: str, tmp_path: Path) -> None:
    with quiet():
        model = small(name)
        model.save(tmp_path / "small.keras")
        model.export(tmp_path / "small", verbose=False)
    how = IMAGE[name]
    papers = {"size": {"height": SIDE, "width": SIDE}, "resample": 0, "rescale_factor": how["scale"]}
    papers |= {"image_mean": how["mean"], "do_flip_channel_order": "channel_order" in how}
    (tmp_path / "small" / "preprocessor_config.json").write_text(json.dumps(papers))
    file, folder = taken_in(tmp_path / "small.keras"), taken_in(tmp_path / "small")
    assert file.image is not None
    assert (file.image, file.labels, file.measure) == (folder.image, folder.labels, folder.measure)
    assert len({hashlib.sha256(source.load().export()).hexdigest() for source in (file, folder)}) == 1
