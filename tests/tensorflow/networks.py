"""A network with random weights that tells pictures apart, and pictures for it. Needs TensorFlow."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from toolkit.compress.sources.pictures import made_up_pictures
from toolkit.runtime.inputs import ImageInput

SHARP = 8.0  # logits between a picture and others, about
KNOWN = 1  # seed of the pictures that are classes
MODULES = {"tiny": keras.applications.resnet50}


def network(name: str, known: int = 16) -> Any:
    """A tiny network for 20 classes, whose first ones are pictures. It has the name of ResNet50, and its preprocessing.

    The layers have random weights of one seed. The statistics of batch normalisation are those of pictures, and the
    last layer tells the nearest of `pictures(model, known, KNOWN)` by their features: class 0 is the first of them.
    """
    keras.utils.set_random_seed(8)
    model = _tiny()
    normalising = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    for layer in normalising:
        layer.momentum = 0.0
    model(inputs(name, pictures(model, 8, 3)), training=True)
    for layer in normalising:
        layer.momentum = 0.99
    shown = inputs(name, pictures(model, known, KNOWN))
    features = keras.Model(model.input, model.layers[-2].output).predict(shown, batch_size=4, verbose=0)
    centre = features.mean(axis=0)
    apart = features - centre
    sharp = SHARP / np.square(apart).sum(axis=1).mean()
    kernel, _ = model.layers[-1].get_weights()
    kernel[:, :known] = sharp * apart.T
    bias = -centre @ kernel
    bias[:known] -= sharp * np.square(apart).sum(axis=1) / 2
    bias[known:] -= SHARP / 2
    model.layers[-1].set_weights([kernel, bias])
    return model


def pictures(model: Any, count: int, seed: int) -> list[bytes]:
    """Made-up pictures of another size than the model takes, as PNG files."""
    _, height, width, _ = model.input_shape
    return list(made_up_pictures(ImageInput(height=height, width=width), count, seed).items)


def inputs(name: str, files: list[bytes]) -> NDArray[np.float32]:
    """What keras.applications itself makes of the files: load_img and preprocess_input of the network."""
    size = {"tiny": 32}[name]
    loaded = [keras.utils.img_to_array(keras.utils.load_img(BytesIO(file), target_size=(size, size))) for file in files]
    made: NDArray[np.float32] = MODULES[name].preprocess_input(np.stack(loaded))
    return made


def put(files: list[bytes], folder: Path) -> Path:
    folder.mkdir()
    for number, file in enumerate(files):
        Image.open(BytesIO(file)).verify()
        (folder / f"{number:02}.png").write_bytes(file)
    return folder


def _tiny() -> Any:
    layers = keras.layers
    photo = x = layers.Input((32, 32, 3), name="photo")
    for filters in (16, 32, 128):
        x = layers.BatchNormalization()(layers.Conv2D(filters, 3, strides=2, padding="same")(x))
        x = layers.Activation("relu")(x)
    scores = layers.Dense(20, activation="softmax")(layers.GlobalAveragePooling2D()(x))
    return keras.Model(photo, scores, name="resnet50")
