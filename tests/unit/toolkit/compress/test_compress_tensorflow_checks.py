"""Hostile Keras files and SavedModels are refused before TensorFlow is asked. Nothing here needs it."""

from __future__ import annotations

import json
import warnings
import zipfile
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from tests.unit.toolkit.compress.saved_models import field, function, node, saved
from toolkit.compress.errors import SourceError
from toolkit.compress.intake import taken_in
from toolkit.compress.sources import keras_checks
from toolkit.compress.sources.folder import Folder
from toolkit.compress.sources.saved_model_checks import check_graph, check_saved
from toolkit.compress.sources.tensorflow_source import PREPROCESSOR, shaped, stated_image
from toolkit.extras import MissingExtra


def layer(kind: str, module: str | None = "keras.layers", **config: Any) -> dict[str, Any]:
    return {"class_name": kind, "module": module, "registered_name": None, "config": config}


INPUT = layer("InputLayer", batch_shape=[None, 8, 8, 3], dtype="float32", name="photo")
DENSE = layer("Dense", units=4, activation="softmax", name="last")


def model(*layers: dict[str, Any], **config: Any) -> dict[str, Any]:
    functional = {"module": "keras.src.models.functional", "class_name": "Functional", "registered_name": "Functional"}
    return {**functional, "config": {"name": "m", "layers": [INPUT, *layers], **config}}


MODEL = model(layer("Conv2D", filters=4, name="c"))
CONFIG = ("config.json", json.dumps(MODEL).encode())
META = ("metadata.json", b"{}")
WEIGHTS = ("model.weights.h5", b"\x89HDF")


def archive(*members: tuple[str, bytes]) -> bytes:
    file = BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as made:
        warnings.simplefilter("ignore")  # of names that come twice
        for name, data in members:
            made.writestr(name, data)
    return file.getvalue()


def refused(work: Callable[[], object]) -> str:
    with pytest.raises(SourceError) as caught:
        work()
    return caught.value.code


def test_a_plain_model_passes_and_says_what_it_takes() -> None:
    config, weights = keras_checks.archived(archive(CONFIG, META, WEIGHTS))
    assert keras_checks.keras_inputs(config) == {"photo": (None, 8, 8, 3)}
    assert keras_checks.convolves(config)
    assert keras_checks.classes(config) == 0
    assert weights == WEIGHTS[1]


@pytest.mark.parametrize(
    ("made", "classes"),
    [
        (model(DENSE), 4),
        (model(DENSE, output_layers=[["last", 0, 0]]), 4),
        (model(DENSE, layer("Dropout", name="after"), output_layers=["last", 0, 0]), 4),
        (model(DENSE, layer("Dropout", name="after")), 0),
        (model(DENSE, output_layers=[["last", 0, 0], ["photo", 0, 0]]), 0),
        (model(layer("Dense", units=4, activation="linear", name="last")), 0),
    ],
)
def test_classes_are_those_of_a_softmax_at_the_end(made: dict[str, Any], classes: int) -> None:
    assert keras_checks.classes(made) == classes


def test_how_it_was_trained_is_left_out() -> None:
    trained = {**MODEL, "compile_config": layer("Mine", "elsewhere")}
    config, _ = keras_checks.archived(archive(("config.json", json.dumps(trained).encode()), META, WEIGHTS))
    assert config == MODEL


@pytest.mark.parametrize(
    ("flaw", "code"),
    [
        (layer("Lambda", function={"class_name": "__lambda__", "config": {"code": "4wEA"}}), "source_code"),
        (layer("Dense", activation={"class_name": "__lambda__", "config": {"code": "4wEA"}}), "source_code"),
        (layer("Conv2D", "os"), "source_code"),
        (layer("Conv2D", "keras.utils"), "source_code"),
        (layer("Conv2D", "kerasx.layers"), "source_code"),
        (layer("Conv2D", None), "source_code"),
        (layer("system", "keras.layers"), "source_unsupported"),
        ({**layer("Conv2D"), "registered_name": "Package>Conv2D"}, "source_code"),
        (layer("Conv2D", activation={"module": "builtins", "class_name": "function", "config": "exec"}), "source_code"),
        (layer("Conv2D", activation={"module": "os", "config": "system"}), "source_code"),
        (layer("Dense", build_config={"class_name": "Popen", "module": "subprocess", "config": {}}), "source_code"),
        (layer("TFSMLayer", filepath="/etc"), "source_unsupported"),
        (layer("TextVectorization", vocabulary="/etc/passwd"), "source_unsupported"),
        (layer("Dense", dtype=layer("DTypePolicy", "keras", name="mixed_float16")), "source_unsupported"),
        (layer("Conv2D", kernel_initializer=layer("Lambda", "keras")), "source_code"),
        (model(model(layer("Lambda"))), "source_code"),
    ],
    ids=lambda value: value if isinstance(value, str) else json.dumps(value)[:60],
)
def test_code_in_a_configuration_is_refused(flaw: dict[str, Any], code: str) -> None:
    assert refused(lambda: keras_checks.check_config(model(flaw))) == code


def test_a_configuration_without_end_is_refused() -> None:
    config: Any = {}
    for _ in range(200):
        config = {"config": config}
    assert refused(lambda: keras_checks.check_config(config)) == "source_malformed"
    assert refused(lambda: keras_checks.parsed_config("[" * 100_000)) == "source_malformed"
    assert refused(lambda: keras_checks.parsed_config(" " * 20_000_001)) == "source_too_large"


@pytest.mark.parametrize(
    ("members", "code"),
    [
        ((CONFIG, META), "source_malformed"),
        ((CONFIG, META, WEIGHTS, ("../escape", b"")), "source_malformed"),
        ((CONFIG, META, WEIGHTS, ("assets/x.pkl", b"")), "source_malformed"),
        ((CONFIG, CONFIG, META, WEIGHTS), "source_malformed"),
        ((CONFIG, META, ("model.weights.h5", bytes(10_000_000))), "source_too_large"),
        ((("config.json", b"{"), META, WEIGHTS), "source_malformed"),
        ((("config.json", json.dumps(model(layer("Lambda"))).encode()), META, WEIGHTS), "source_code"),
    ],
    ids=["missing", "outside", "pickle", "twice", "bomb", "no-json", "lambda"],
)
def test_archives_with_a_flaw_are_refused(members: tuple[tuple[str, bytes], ...], code: str) -> None:
    assert refused(lambda: keras_checks.archived(archive(*members))) == code


@pytest.mark.parametrize(
    "own",
    [
        {"batch_shape": [None, None, 8, 3], "dtype": "float32", "name": "photo"},
        {"batch_shape": [4, 8, 8, 3], "dtype": "float32", "name": "photo"},
        {"batch_shape": [None, 8, 8, 3], "dtype": "uint8", "name": "photo"},
        {"batch_shape": [None, "8"], "dtype": "float32", "name": "photo"},
        {"batch_shape": [None, 8], "dtype": "float32", "name": "../photo"},
        {"batch_shape": [None, 100_000], "dtype": "float32", "name": "photo"},
    ],
)
def test_inputs_that_cannot_be_asked_for_are_refused(own: dict[str, Any]) -> None:
    made = {**MODEL, "config": {"layers": [layer("InputLayer", **own)]}}
    assert refused(lambda: keras_checks.keras_inputs(made)) == "source_unsupported"


def test_a_model_that_was_never_built_is_refused() -> None:
    assert refused(lambda: shaped({})) == "source_unsupported"
    assert refused(lambda: keras_checks.keras_inputs({**MODEL, "config": {"layers": []}})) == "source_unsupported"


@pytest.mark.parametrize("name", ["m.h5", "M.HDF5"])
def test_a_model_in_hdf5_is_refused_unread(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"\x89HDF\r\n\x1a\n")
    assert refused(lambda: taken_in(tmp_path / name)) == "source_hdf5"


@pytest.mark.skipif(find_spec("h5py") is not None, reason="the extra is installed")
def test_without_the_extra_it_is_said_what_to_install(tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    (tmp_path / "m.keras").write_bytes(archive(CONFIG, META, WEIGHTS))
    with pytest.raises(MissingExtra, match=r"sealpress\[tensorflow\]"):
        taken_in(tmp_path / "m.keras")


@pytest.mark.parametrize("layout", [(None, 32, 32, 3), (None, 3, 32, 32)])
def test_papers_say_how_an_image_becomes_the_input(tmp_path: Path, layout: tuple[int | None, ...]) -> None:
    folder = Folder(tmp_path)
    assert stated_image(folder, {"x": layout}) is None
    caffe = {"rescale_factor": 1, "image_mean": [103.939, 116.779, 123.68], "do_flip_channel_order": True}
    (tmp_path / PREPROCESSOR).write_text(json.dumps({"size": {"height": 32, "width": 32}, **caffe}))
    image = stated_image(folder, {"x": layout})
    assert image is not None
    assert image.channels_last is (layout[3] == 3)
    assert (image.channel_order, image.scale, image.mean[0]) == ("bgr", 1, 103.939)
    others: list[dict[str, tuple[int | None, ...]]] = [
        {"x": (None, 16, 16, 3)},
        {"x": layout, "y": layout},
        {"x": (None, 32)},
    ]
    for other in others:
        assert refused(partial(stated_image, folder, other)) == "source_config"


def test_a_saved_model_that_computes_and_restores_passes() -> None:
    check_saved(saved(function("f", node("Conv2D"), node("Relu")), function("r", node("RestoreV2"))))


@pytest.mark.parametrize("operation", ["PyFunc", "EagerPyFunc", "ReadFile", "WriteFile", "MatchingFiles", "Batch"])
def test_operations_that_reach_out_are_code(operation: str) -> None:
    assert refused(lambda: check_saved(saved(function("f", node(operation))))) == "source_code"
    assert refused(lambda: check_saved(saved(top=field(1, node(operation))))) == "source_code"
    assert refused(lambda: check_graph(field(1, node(operation)))) == "source_code"


@pytest.mark.parametrize("operation", ["DecodeRaw", "TensorArrayV3", "RandomUniform", "Print", "IteratorGetNext", ""])
def test_other_operations_are_not_taken_in(operation: str) -> None:
    assert refused(lambda: check_saved(saved(function("f", node(operation))))) == "source_unsupported"


def test_what_restores_is_not_called_by_what_computes() -> None:
    data = saved(function("f", node("PartitionedCall", calls="r")), function("r", node("SaveV2")))
    assert refused(lambda: check_saved(data)) == "source_code"
    assert refused(lambda: check_graph(field(2, function("r", node("RestoreV2"))))) == "source_code"


def test_a_function_is_not_put_in_the_place_of_others() -> None:
    named = field(5, field(1, b"api_implements"), field(2, b""))
    data = saved(field(1, field(1, field(1, b"f")), named, field(3, node("Relu"))))
    assert refused(lambda: check_saved(data)) == "source_code"
    assert refused(lambda: check_saved(saved(function("f"), function("f")))) == "source_malformed"


def test_one_number_that_stands_for_many_is_counted_as_many() -> None:
    check_saved(saved(function("f", node("Const", dims=(1000, 1000)))))
    assert (
        refused(lambda: check_saved(saved(function("f", node("Const", dims=(30_000, 30_000)))))) == "source_too_large"
    )
    halves = [node("Const", dims=(20_000, 20_000))] * 2
    assert refused(lambda: check_saved(saved(function("f", *halves)))) == "source_too_large"


@pytest.mark.parametrize("kind", [5, 10, 11, 13, 16])
def test_objects_that_run_when_they_are_loaded_are_refused(kind: int) -> None:
    objects = field(1, field(kind, field(1, b"x")))
    assert refused(lambda: check_saved(saved(function("f", node("Relu")), objects=objects))) == "source_code"


def test_assets_are_refused_wherever_they_are_named(tmp_path: Path) -> None:
    asset = field(6, field(2, b"words.txt"))
    assert refused(lambda: check_saved(saved(function("f", node("Relu")), meta=asset))) == "source_code"


def test_a_saved_model_of_tensorflow_1_is_refused() -> None:
    assert refused(lambda: check_saved(field(2, field(2, field(1, node("Relu")))))) == "source_unsupported"
    assert refused(lambda: check_saved(saved() * 2)) == "source_unsupported"


def test_a_folder_with_other_things_than_weights_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    (tmp_path / "saved_model.pb").write_bytes(saved(function("f", node("Relu"))))
    assert refused(lambda: taken_in(tmp_path)) == "source_weights"
    (tmp_path / "variables").mkdir()
    (tmp_path / "variables" / "variables.index").write_bytes(b"")
    (tmp_path / "variables" / "weights.pkl").write_bytes(b"")
    assert refused(lambda: taken_in(tmp_path)) == "source_weights"
    (tmp_path / "assets").mkdir()
    (tmp_path / "assets" / "words.txt").write_bytes(b"x")
    assert refused(lambda: taken_in(tmp_path)) == "source_code"
