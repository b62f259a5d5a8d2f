"""Networks of keras.applications that read digits, and scikit-learn's digits as pictures. Needs TensorFlow."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from typing import Any, NamedTuple

import keras
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

__all__ = ["Digit", "digits", "inputs", "network"]

SEED = 8
CLASSES = 10
SIDE = 64  # pixels, of a digit that has 8 in the data
TIMES = 4  # that a picture shows its digit, in each direction
INK, PAPER = (250, 180, 40), (20, 40, 110)  # red and blue told apart: their order counts
ABOVE = 1.0  # in deviations
ADAPTED = 16  # pictures from which the statistics of batch normalisation come
TOGETHER = 16
SIZES = {"resnet50": 224, "inceptionv3": 299}
MODULES = {"resnet50": keras.applications.resnet50, "inceptionv3": keras.applications.inception_v3}
MAKERS = {"resnet50": keras.applications.ResNet50, "inceptionv3": keras.applications.InceptionV3}


class Digit(NamedTuple):
    """A PNG file that shows a digit which a person wrote, many times beside each other; and which one it is."""

    file: bytes
    label: int


def digits(count: int) -> list[Digit]:
    """Some of the 1,797 (Alpaydin and Kaynak, "Optical Recognition of Handwritten Digits", UCI, 1998), shuffled."""
    data = load_digits()
    order = np.random.default_rng(SEED).permutation(len(data.images))[:count]
    return [Digit(_png(data.images[number]), int(data.target[number])) for number in order]


def network(name: str, learned: Sequence[Digit]) -> Any:
    """A network as keras.applications makes it, for ten classes.

    The convolutions have random weights of one seed. That alone makes a network in which the smallest change of a
    number grows from layer to layer, as it does not in one that was trained. So the statistics of batch normalisation
    are those of the first pictures, what it gives lies above zero for the most part (`ABOVE`), and the last layer is a
    logistic regression on the features of all of them. The network tells digits apart that it never saw, so that what
    int8 changes in its answers says something.
    """
    keras.utils.set_random_seed(SEED)
    model = MAKERS[name](weights=None, classes=CLASSES)
    normalising = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    for layer in normalising:
        layer.momentum = 0.0
        layer.beta.assign(np.full(layer.beta.shape, ABOVE, np.float32))
    given = inputs(name, [digit.file for digit in learned])
    model(given[:ADAPTED], training=True)
    for layer in normalising:
        layer.momentum = 0.99
    features = keras.Model(model.input, model.layers[-2].output).predict(given, batch_size=TOGETHER, verbose=0)
    mean, spread = features.mean(axis=0), features.std(axis=0) + 1e-6
    fitted = LogisticRegression(C=0.01, max_iter=2000).fit(
        (features - mean) / spread, [digit.label for digit in learned]
    )
    kernel = (fitted.coef_ / spread).T
    model.layers[-1].set_weights([kernel, fitted.intercept_ - mean @ kernel])
    return model


def inputs(name: str, files: Sequence[bytes]) -> NDArray[np.float32]:
    """What keras.applications itself makes of the files: load_img and preprocess_input of the network."""
    size = SIZES[name]
    loaded = [keras.utils.img_to_array(keras.utils.load_img(BytesIO(file), target_size=(size, size))) for file in files]
    made: NDArray[np.float32] = MODULES[name].preprocess_input(np.stack(loaded))
    return made


def _png(image: NDArray[np.float64]) -> bytes:
    """Numbers from 0 to 16 as a mixture of two colours."""
    shades = Image.fromarray((image * 255 / 16).astype(np.uint8)).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    ink = np.tile(np.asarray(shades), (TIMES, TIMES))[..., None] / 255
    picture = ink * INK + (1 - ink) * PAPER
    file = BytesIO()
    Image.fromarray(picture.astype(np.uint8)).save(file, "PNG")
    return file.getvalue()
