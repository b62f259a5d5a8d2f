"""Small models as Keras and TensorFlow write them: what is taken in computes the same, what is hostile is refused."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from policies.facts import Tensor
from policies.gate import Grant, covers
from tests.unit.toolkit.compress.conftest import Gated
from toolkit.compress.errors import SourceError
from toolkit.compress.intake import taken_in
from toolkit.compress.quiet import quiet
from toolkit.compress.sources import keras_checks
from toolkit.compress.sources.keras_file import KerasFile
from toolkit.compress.sources.saved_model import SavedModel
from toolkit.compress.sources.tensorflow_source import PREPROCESSOR
from toolkit.runtime.images import ImageReader
from toolkit.runtime.inputs import ImageInput
from toolkit.runtime.session import Session

with quiet():
    pytest.importorskip("tensorflow", reason="needs the extra tensorflow: make test-tensorflow")
    import h5py
    import keras
    import tensorflow as tf
    from keras import layers

ROOT = Path(__file__).resolve().parents[2]
CAFFE = {
    "size": {"height": 16, "width": 16},
    "rescale_factor": 1.0,
    "image_mean": [103.939, 116.779, 123.68],
    "do_flip_channel_order": True,
}

EXPORT = """
import hashlib, sys
from toolkit.compress.intake import taken_in
for path in sys.argv[1:]:
    print(hashlib.sha256(taken_in(path).load().export()).hexdigest())
"""


def classifier(name: str = "small") -> Any:
    """A convolution, what follows one, and a softmax over five classes, with random weights of one seed."""
    with quiet():
        keras.utils.set_random_seed(4)
        photo = layers.Input((16, 16, 3), name="photo")
        x = layers.BatchNormalization()(layers.Conv2D(8, 3, padding="same", strides=2)(photo))
        x = layers.Dropout(0.2)(layers.MaxPooling2D()(layers.Activation("relu")(x)))
        scores = layers.Dense(5, activation="softmax", bias_initializer="random_normal")(
            layers.GlobalAveragePooling2D()(x)
        )
        return keras.Model(photo, scores, name=name)


def kept(model: Any, path: Path) -> Path:
    with quiet():
        if path.suffix == ".keras":
            model.save(path)
        else:
            model.export(path, verbose=False)
    return path


def refused(work: Callable[[], object]) -> str:
    with pytest.raises(SourceError) as caught:
        work()
    return caught.value.code


def answers(
    source: KerasFile | SavedModel, gated: Gated, *feeds: dict[str, Any]
) -> tuple[list[list[NDArray[Any]]], list[list[NDArray[Any]]]]:
    """What the original and its export give."""
    original = source.load()

    def work(grant: Grant) -> tuple[Any, Any]:
        exported = original.export()
        digest = hashlib.sha256(exported).hexdigest()
        covers(grant, digest)
        session = Session(exported, digest)
        assert tuple(tensor.name for tensor in session.inputs) == original.names
        return original.run(grant, "policy", lambda _: feeds), session.run(grant, "policy", lambda _: feeds)

    made: tuple[Any, Any] = gated(source.digest, work)
    return made


def rows(*shape: int, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def predicted(model: Any, given: Any) -> Any:
    with quiet():
        return model.predict(given, verbose=0)


@pytest.mark.parametrize("file", ["m.keras", "saved"])
def test_tensors_go_in_and_out_as_the_model_has_them(tmp_path: Path, gated: Gated, file: str) -> None:
    model = classifier()
    source = taken_in(kept(model, tmp_path / file))
    assert isinstance(source, KerasFile | SavedModel)
    assert (source.task, source.measure, source.convolves, source.labels) == ("tensors", "divergence", True, ())
    assert source.inputs == {"photo": (None, 16, 16, 3)}
    # the seed of the dropout is no part of what is pressed
    assert source.parameters in (model.count_params(), model.count_params() + 2)
    for batch in (1, 3):
        given = rows(batch, 16, 16, 3)
        original, exported = answers(source, gated, {"photo": given})
        expected = predicted(model, given)
        np.testing.assert_allclose(original[0][0], expected, atol=1e-6)
        np.testing.assert_allclose(exported[0][0], expected, atol=1e-6)


@pytest.mark.parametrize("file", ["m.keras", "saved"])
def test_papers_make_it_a_model_of_images_that_answers_with_logits(tmp_path: Path, gated: Gated, file: str) -> None:
    model = classifier()
    folder = tmp_path if file.endswith(".keras") else tmp_path / file
    path = kept(model, tmp_path / file)
    plain = taken_in(path).digest
    (folder / PREPROCESSOR).write_text(json.dumps(CAFFE))
    source = taken_in(path)
    assert isinstance(source, KerasFile | SavedModel)
    assert source.digest != plain
    assert (source.task, source.measure, len(source.labels)) == ("image-classification", "agreement", 5)
    assert source.image is not None
    assert (source.image.channels_last, source.image.channel_order) == (True, "bgr")
    given = rows(2, 16, 16, 3)
    original, exported = answers(source, gated, {"photo": given})
    np.testing.assert_allclose(exported[0][0], original[0][0], atol=1e-5)
    powers = np.exp(original[0][0])
    np.testing.assert_allclose(powers / powers.sum(axis=1, keepdims=True), predicted(model, given), atol=1e-6)


def test_an_export_has_the_same_bytes_in_every_folder_and_process(tmp_path: Path) -> None:
    model = classifier()
    paths = [kept(model, tmp_path / "m.keras"), kept(model, tmp_path / "saved")]
    shutil.copytree(tmp_path / "saved", tmp_path / "elsewhere")
    done = subprocess.run(
        [sys.executable, "-c", EXPORT, *map(str, (tmp_path / "elsewhere", *reversed(paths)))],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if not name.startswith("TF_")},
        check=True,
        capture_output=True,
        text=True,
    )
    assert done.stderr == ""  # nothing that the libraries say of themselves
    file, saved = (hashlib.sha256(taken_in(path).load().export()).hexdigest() for path in paths)
    assert done.stdout.split() == [saved, saved, file]


def test_inputs_keep_their_names_and_their_order(tmp_path: Path, gated: Gated) -> None:
    with quiet():
        second, first = layers.Input((4,), name="second"), layers.Input((6,), name="first")
        joined = layers.Concatenate()([layers.Dense(3)(first), layers.Dense(2)(second)])
        model = keras.Model([first, second], [joined, layers.Dense(1)(joined)])
    for path in (tmp_path / "m.keras", tmp_path / "saved"):
        source = taken_in(kept(model, path))
        assert isinstance(source, KerasFile | SavedModel)
        given = {"first": rows(2, 6), "second": rows(2, 4, seed=1)}
        original, exported = answers(source, gated, given)
        expected = predicted(model, [given["first"], given["second"]])
        for one, other, wanted in zip(original[0], exported[0], expected, strict=True):
            np.testing.assert_allclose(one, wanted, atol=1e-5)
            np.testing.assert_allclose(other, wanted, atol=1e-5)


IMAGES, ROWS = (8, 8, 3), (8, 3)
# every layer that is taken in, beside Input, Dense, Dropout and those of `classifier`: on images, or on rows
LAYERS: list[tuple[str, tuple[int, ...], Callable[[Any], Any]]] = [
    *(
        (f"Activation {name}", ROWS, lambda x, name=name: layers.Activation(name)(x))
        for name in (
            "elu",
            "exponential",
            "hard_sigmoid",
            "linear",
            "mish",
            "relu",
            "relu6",
            "selu",
            "sigmoid",
            "silu",
            "softmax",
            "softplus",
            "softsign",
            "tanh",
        )
    ),
    ("Add", ROWS, lambda x: layers.Add()([x, x])),
    ("Average", ROWS, lambda x: layers.Average()([x, layers.Dense(3)(x)])),
    ("AveragePooling1D", ROWS, layers.AveragePooling1D(2)),
    ("AveragePooling2D", IMAGES, layers.AveragePooling2D(3, padding="same")),
    ("Concatenate", IMAGES, lambda x: layers.Concatenate()([x, x])),
    ("Conv1D", ROWS, layers.Conv1D(4, 3, padding="same")),
    ("Conv2D", IMAGES, layers.Conv2D(4, 3, dilation_rate=2)),
    ("Cropping2D", IMAGES, layers.Cropping2D(1)),
    ("DepthwiseConv2D", IMAGES, layers.DepthwiseConv2D(3)),
    ("ELU", ROWS, layers.ELU()),
    ("Flatten", IMAGES, layers.Flatten()),
    ("GlobalAveragePooling1D", ROWS, layers.GlobalAveragePooling1D()),
    ("GlobalMaxPooling1D", ROWS, layers.GlobalMaxPooling1D()),
    ("GlobalMaxPooling2D", IMAGES, layers.GlobalMaxPooling2D(keepdims=True)),
    ("LayerNormalization", ROWS, layers.LayerNormalization()),
    ("LeakyReLU", ROWS, layers.LeakyReLU()),
    ("MaxPooling1D", ROWS, layers.MaxPooling1D()),
    ("Maximum", ROWS, lambda x: layers.Maximum()([x, layers.Dense(3)(x)])),
    ("Multiply", ROWS, lambda x: layers.Multiply()([x, x])),
    ("Normalization", ROWS, layers.Normalization(mean=[1.0, 2.0, 3.0], variance=[1.0, 4.0, 9.0])),
    ("PReLU", ROWS, layers.PReLU(alpha_initializer="random_normal")),
    ("Permute", ROWS, layers.Permute((2, 1))),
    ("ReLU", ROWS, layers.ReLU(6.0, negative_slope=0.1)),
    ("Rescaling", IMAGES, layers.Rescaling(1 / 127.5, offset=-1)),
    ("Reshape", ROWS, layers.Reshape((6, -1))),
    ("SeparableConv2D", IMAGES, layers.SeparableConv2D(4, 3)),
    ("Softmax", ROWS, layers.Softmax()),
    ("SpatialDropout2D", IMAGES, layers.SpatialDropout2D(0.5)),
    ("Subtract", ROWS, lambda x: layers.Subtract()([x, layers.Dense(3)(x)])),
    ("UpSampling2D", IMAGES, layers.UpSampling2D()),
    ("ZeroPadding1D", ROWS, layers.ZeroPadding1D(2)),
    ("ZeroPadding2D", IMAGES, layers.ZeroPadding2D(((1, 0), (2, 1)))),
]  # fmt: skip - one line for each layer


@pytest.mark.parametrize(("shape", "make"), [row[1:] for row in LAYERS], ids=[row[0] for row in LAYERS])
def test_every_layer_that_is_taken_in_computes_the_same(
    tmp_path: Path, gated: Gated, shape: tuple[int, ...], make: Callable[[Any], Any]
) -> None:
    with quiet():
        keras.utils.set_random_seed(1)
        given = layers.Input(shape, name="x")
        model = keras.Model(given, make(given))
    source = taken_in(kept(model, tmp_path / "m.keras"))
    assert isinstance(source, KerasFile)
    numbers = rows(2, *shape)
    original, exported = answers(source, gated, {"x": numbers})
    np.testing.assert_allclose(original[0][0], predicted(model, numbers), atol=1e-5)
    np.testing.assert_allclose(exported[0][0], original[0][0], atol=1e-5)


def test_no_layer_is_taken_in_that_was_not_tried() -> None:
    tried = {name.partition(" ")[0] for name, _, _ in LAYERS}
    others = {"BatchNormalization", "Dense", "Dropout", "GlobalAveragePooling2D", "InputLayer", "MaxPooling2D"}
    assert tried | others == keras_checks.LAYERS


@pytest.mark.parametrize(
    ("name", "module"),
    [
        ("resnet50", "resnet50"),
        ("vgg16", "vgg16"),
        ("inception_v3", "inception_v3"),
        ("resnet50v2", "resnet_v2"),
        ("xception", "xception"),
        ("mobilenetv2_1.00_224", "mobilenet_v2"),
        ("densenet121", "densenet"),
    ],
)
def test_networks_of_keras_applications_get_their_own_preprocessing(tmp_path: Path, name: str, module: str) -> None:
    source = taken_in(kept(classifier(name), tmp_path / "m.keras"))
    assert isinstance(source.image, ImageInput)
    [picture] = source.examples(1).items
    reader = ImageReader([Tensor(name="photo", dtype="float32", shape=("batch", 16, 16, 3))], source.image)
    loaded = keras.utils.img_to_array(keras.utils.load_img(BytesIO(picture), target_size=(16, 16)))
    expected = getattr(keras.applications, module).preprocess_input(loaded[None])
    np.testing.assert_allclose(reader.feeds([picture])["photo"], expected, atol=2e-5)


def test_a_layer_that_is_code_is_refused_though_keras_wrote_it(tmp_path: Path) -> None:
    with quiet():
        photo = layers.Input((4,))
        model = keras.Model(photo, layers.Lambda(lambda x: x * 2)(photo))
    assert refused(lambda: taken_in(kept(model, tmp_path / "m.keras"))) == "source_code"


def test_a_model_in_hdf5_is_refused(tmp_path: Path) -> None:
    with quiet():
        classifier().save(tmp_path / "m.h5")
    assert refused(lambda: taken_in(tmp_path / "m.h5")) == "source_hdf5"


def with_weights(path: Path, change: Callable[[h5py.File], None]) -> Path:
    """A Keras file whose weights were changed."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    own = path.with_name("model.weights.h5")
    own.write_bytes(members["model.weights.h5"])
    with h5py.File(own, "r+") as file:
        change(file)
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, own.read_bytes() if name == "model.weights.h5" else data)
    return path


def put(file: h5py.File, name: str, value: object, **options: Any) -> None:
    if name in file:
        del file[name]
    file.create_dataset(name, data=value, **options)


DENSE = "layers/dense/vars/1"


def _virtual(file: h5py.File) -> None:
    layout = h5py.VirtualLayout((5,), "f4")
    layout[:] = h5py.VirtualSource("/etc/hostname", "x", (5,))
    file.create_virtual_dataset("v", layout)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda file: file.__setitem__("x", h5py.ExternalLink("/etc/hostname", "/")), "source_external"),
        (lambda file: file.__setitem__("x", h5py.SoftLink("/layers")), "source_external"),
        (lambda file: file.__setitem__("x", file["layers"]), "source_malformed"),
        (lambda file: file["layers"].__setitem__("x", file["/"]), "source_malformed"),
        (lambda file: file.create_dataset("x", (5,), "f4", external=[("/etc/hostname", 0, 20)]), "source_external"),
        (_virtual, "source_external"),
        (lambda file: put(file, DENSE, np.zeros(5, "f4"), chunks=(5,), compression="gzip"), "source_unsupported"),
        (lambda file: file.create_dataset("x", (30_000, 30_000), "f4"), "source_too_large"),
        (lambda file: put(file, "x", ["cos\nsystem"]), "source_pickle"),
        (lambda file: file.__setitem__("x", np.dtype("f4")), "source_malformed"),
    ],
    ids=["link", "soft", "two-names", "circle", "external", "virtual", "packed", "large", "texts", "type"],
)
def test_weights_that_are_no_plain_arrays_are_refused(
    tmp_path: Path, change: Callable[[h5py.File], None], code: str
) -> None:
    path = with_weights(kept(classifier(), tmp_path / "m.keras"), change)
    assert refused(lambda: taken_in(path)) == code


@pytest.mark.parametrize(
    "change",
    [
        lambda file: put(file, DENSE, np.full(5, np.nan, "f4")),
        lambda file: put(file, DENSE, np.zeros(6, "f4")),
        lambda file: file.__delitem__(DENSE),
    ],
    ids=["nan", "shape", "missing"],
)
def test_weights_that_do_not_fit_are_refused(tmp_path: Path, change: Callable[[h5py.File], None]) -> None:
    source = taken_in(with_weights(kept(classifier(), tmp_path / "m.keras"), change))
    assert refused(source.load) == "source_weights"


def test_layers_that_would_hold_more_than_the_file_are_never_made(tmp_path: Path) -> None:
    path = kept(classifier(), tmp_path / "m.keras")
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    config = json.loads(members["config.json"])
    dense = next(one for one in config["config"]["layers"] if one["class_name"] == "Dense")
    dense["config"]["units"] = 2_000_000_000  # 64 GB
    members["config.json"] = json.dumps(config).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    assert refused(taken_in(path).load) == "source_weights"


def program(path: Path, compute: Callable[[Any], Any], **members: Any) -> Path:
    """A SavedModel of a function of (batch, 4)."""
    with quiet():
        module = tf.Module()
        for name, value in members.items():
            setattr(module, name, value)
        module.serve = tf.function(compute, input_signature=[tf.TensorSpec((None, 4), tf.float32, name="x")])
        tf.saved_model.save(module, str(path), signatures=module.serve)
    return path


def test_a_program_that_computes_is_taken_in(tmp_path: Path, gated: Gated) -> None:
    weights = tf.Variable(rows(4, 3))
    source = taken_in(program(tmp_path / "p", lambda x: {"y": tf.nn.relu(x @ weights)}, weights=weights))
    assert isinstance(source, SavedModel)
    given = rows(2, 4)
    original, exported = answers(source, gated, {"x": given})
    np.testing.assert_allclose(original[0][0], np.maximum(given @ weights.numpy(), 0), atol=1e-5)
    np.testing.assert_allclose(exported[0][0], original[0][0], atol=1e-5)
    assert source.parameters == 12


@pytest.mark.parametrize(
    "compute",
    [
        lambda x: {"y": tf.py_function(lambda a: a, [x], tf.float32)},
        lambda x: {"y": tf.numpy_function(lambda a: a, [x], tf.float32)},
        lambda x: {"y": x + tf.cast(tf.strings.length(tf.io.read_file("/etc/hostname")), tf.float32)},
        lambda x: tf.io.write_file("/tmp/never", "x") and {"y": x},  # noqa: S108 - it is never run
    ],
    ids=["py_function", "numpy_function", "read", "write"],
)
def test_a_program_that_reaches_out_is_refused(tmp_path: Path, compute: Callable[[Any], Any]) -> None:
    assert refused(lambda: taken_in(program(tmp_path / "p", compute))) == "source_code"


def test_a_program_that_reads_when_it_is_loaded_is_refused(tmp_path: Path) -> None:
    words = tmp_path / "words.txt"
    words.write_text("a\nb")
    asset = tf.saved_model.Asset(str(words))
    assert refused(lambda: taken_in(program(tmp_path / "p", lambda x: {"y": x}, words=asset))) == "source_code"
    held = tf.lookup.KeyValueTensorInitializer(np.array([1], np.int64), np.array([2.0], np.float32))
    table = tf.lookup.StaticHashTable(held, 0.0)
    looked = program(tmp_path / "q", lambda x: {"y": table.lookup(tf.cast(x, tf.int64))}, table=table)
    assert refused(lambda: taken_in(looked)) == "source_code"


def test_a_program_whose_weights_changed_is_refused(tmp_path: Path) -> None:
    weights = tf.Variable(np.full((4, 3), np.inf, np.float32))
    path = program(tmp_path / "p", lambda x: {"y": x @ weights}, weights=weights)
    assert refused(taken_in(path).load) == "source_weights"
    data = path / "variables" / "variables.data-00000-of-00001"
    source = taken_in(path)
    data.write_bytes(data.read_bytes()[::-1])
    assert refused(source.load) == "source_changed"


def test_a_graph_with_an_open_size_inside_is_refused(tmp_path: Path) -> None:
    with quiet():
        open_size = layers.Input((None, None, 3))
        model = keras.Model(open_size, layers.GlobalAveragePooling2D()(open_size))
    assert refused(lambda: taken_in(kept(model, tmp_path / "m.keras"))) == "source_unsupported"


def test_an_answer_that_grows_without_end_is_refused_before_it_runs(tmp_path: Path) -> None:
    with quiet():
        photo = layers.Input((16, 16, 3))
        large = layers.ZeroPadding2D(20_000)(photo)
        model = keras.Model(photo, layers.GlobalAveragePooling2D()(large))
    original = taken_in(kept(model, tmp_path / "m.keras")).load()
    assert refused(original.export) == "source_too_large"
