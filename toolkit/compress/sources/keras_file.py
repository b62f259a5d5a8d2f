"""Take in a Keras file, .keras: look at its configuration and its arrays, run nothing of it."""

from __future__ import annotations

import hashlib
import re
from copy import deepcopy
from math import prod
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
import numpy as np

from toolkit.compress.errors import SourceError
from toolkit.compress.quiet import quiet
from toolkit.compress.source import Original
from toolkit.compress.sources import keras_checks
from toolkit.compress.sources.folder import File, Folder
from toolkit.compress.sources.keras_weights import check_weights
from toolkit.compress.sources.tensorflow_source import PREPROCESSOR, Shape, TensorflowSource, name_of, stated_image
from toolkit.extras import needs
from toolkit.runtime.inputs import ImageInput

__all__ = ["SUFFIXES", "KerasFile", "read"]

SUFFIXES = (".keras", ".h5", ".hdf5")
SPARE = 1000  # numbers that layers hold and a file may not: seeds of dropout

# The preprocessing of keras.applications by the name that an application gives its model
# (keras.applications.imagenet_utils.preprocess_input, modes "caffe", "tf" and "torch"), and how keras.utils.load_img
# resizes for it: to the size that the model takes, by the nearest pixel.
_CAFFE = re.compile(r"resnet(50|101|152)|vgg(16|19)")
_TF = re.compile(r"inception_v3|xception|resnet(50|101|152)v2|mobilenet(v2)?_[0-9.]+_[0-9]+")
_TORCH = re.compile(r"densenet(121|169|201)")


class KerasFile(TensorflowSource, frozen=True, kw_only=True):
    """A Source (toolkit.compress.source): a Keras file that was looked at and not loaded.

    It takes images where a preprocessor_config.json beside it says how, or where it is one of keras.applications by its
    name; else tensors.
    """

    file: File

    def load(self) -> Original:
        """See toolkit.compress.source. Raises SourceError, MissingExtra."""
        with quiet(), needs("compress"):
            from toolkit.compress.sources.tensorflow_graph import TensorflowModel, tensorflow
        tensorflow()
        with quiet(), needs("tensorflow"):
            import keras
        # what was checked is what is loaded: the configuration as it was parsed, and the same bytes of weights
        config, weights = keras_checks.archived(self.file.read())
        with quiet(), TemporaryDirectory(prefix="sealpress-") as folder:
            copy = Path(folder) / "model.weights.h5"
            copy.write_bytes(weights)
            try:
                with keras.StatelessScope(initialize_variables=False):
                    # Keras takes what it is given apart
                    sketch = keras.saving.deserialize_keras_object(deepcopy(config), safe_mode=True)
                wanted = sum(prod(variable.shape) for variable in sketch.variables)
                if wanted > self.parameters + SPARE:
                    raise SourceError(
                        "source_weights", f"the layers want {wanted} numbers, there are {self.parameters}"
                    )
                model = keras.saving.deserialize_keras_object(config, safe_mode=True)
                model.load_weights(copy)
            except SourceError:
                raise
            except Exception as error:  # noqa: BLE001 - Keras raises whatever a configuration sets off
                raise SourceError("source_weights", f"Keras does not load the file: {str(error)[:200]!r}") from None
        for weight in model.weights:
            if not np.isfinite(weight.numpy()).all():
                raise SourceError("source_weights", f"{weight.path[:200]!r} holds NaN or infinity")
        order = [tensor.name for tensor in model.inputs]
        if sorted(order) != sorted(self.inputs):
            raise SourceError("source_config", f"the model takes {order}, its layers say {list(self.inputs)}")

        def call(*tensors: Any) -> dict[str, Any]:
            given = dict(zip(self.inputs, tensors, strict=True))
            answer = model([given[name] for name in order] if len(order) > 1 else tensors[0], training=False)
            outputs = answer if isinstance(answer, list | tuple) else [answer]
            return {f"output_{number}" if number else "output": value for number, value in enumerate(outputs)}

        return TensorflowModel(call, self.inputs, self.digest, logits=bool(self.labels))


def read(path: Path, *, limit: int) -> KerasFile:
    """The model in a file of at most `limit` bytes. Raises SourceError, MissingExtra."""
    with quiet(), needs("compress"):
        from toolkit.compress.sources.papers import read_papers
    if path.suffix.lower() != ".keras":
        raise SourceError("source_hdf5", f"{path} is a model in HDF5, in which Keras runs code in spite of safe_mode")
    folder = Folder(path.absolute().parent)
    config, weights = keras_checks.archived(folder.read(path.name, limit))
    parameters = check_weights(weights)
    inputs = keras_checks.keras_inputs(config)
    inner = config["config"]
    image = stated_image(folder, inputs, _usual(str(inner.get("name")), inputs))
    classes = keras_checks.classes(config)
    labels = tuple(f"LABEL_{number}" for number in range(classes)) if image is not None else ()
    hashes = [folder.used[name].sha256 for name in (path.name, PREPROCESSOR) if name in folder.used]
    papers = read_papers(folder)
    return KerasFile(
        name=name_of(path.stem),
        digest=hashlib.sha256(msgspec.json.encode(["keras", *hashes])).hexdigest(),
        licences=papers.statements,
        licence_text=papers.licence,
        notice=papers.notice,
        image=image,
        labels=labels,
        measure="agreement" if labels else "divergence" if classes else "correlation",
        parameters=parameters,
        convolves=keras_checks.convolves(config),
        inputs=inputs,
        file=folder.used[path.name],
    )


def _usual(name: str, inputs: dict[str, Shape]) -> ImageInput | None:
    """How the model of keras.applications with this name wants its images; None for any other."""
    [shape, *others] = inputs.values()
    if others or len(shape) != 4 or shape[3] != 3 or shape[1] is None or shape[2] is None:
        return None
    height, width = shape[1], shape[2]
    nearest = ImageInput(height=height, width=width, resample="nearest", channels_last=True)
    if _CAFFE.fullmatch(name):
        mean = (103.939, 116.779, 123.68)
        return msgspec.structs.replace(nearest, scale=1.0, mean=mean, channel_order="bgr")
    if _TF.fullmatch(name):
        return msgspec.structs.replace(nearest, scale=1 / 127.5, mean=(1.0, 1.0, 1.0))
    if _TORCH.fullmatch(name):
        return msgspec.structs.replace(nearest, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    return None
