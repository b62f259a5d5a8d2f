"""What is held against a Keras file before Keras sees it: its archive and its configuration.

Everything in the file is hostile. A configuration can name a module to import (CVE-2025-1550), and a Lambda
layer is code, so it is held against a list of layers that only compute. A model that is an HDF5 file as a whole is not
taken in: there Keras runs code in spite of `safe_mode` (CVE-2025-9905).
"""

from __future__ import annotations

import json
import re
import zlib
from io import BytesIO
from typing import Any
from zipfile import BadZipFile, ZipFile

from toolkit.compress.errors import SourceError
from toolkit.compress.sources.keras_weights import MAX_WEIGHTS
from toolkit.compress.sources.tensorflow_source import Shape, shaped

__all__ = ["archived", "check_config", "classes", "convolves", "keras_inputs", "parsed_config"]

MAX_CONFIG = 20_000_000
MAX_RATIO = 200  # of what a member unfolds to: Keras stores its members, and weights are not so regular
MAX_DEPTH = 100
MAX_CLASSES = 100_000

LAYERS = frozenset(
    (
        "Activation",
        "Add",
        "Average",
        "AveragePooling1D",
        "AveragePooling2D",
        "BatchNormalization",
        "Concatenate",
        "Conv1D",
        "Conv2D",
        "Cropping2D",
        "Dense",
        "DepthwiseConv2D",
        "Dropout",
        "ELU",
        "Flatten",
        "GlobalAveragePooling1D",
        "GlobalAveragePooling2D",
        "GlobalMaxPooling1D",
        "GlobalMaxPooling2D",
        "InputLayer",
        "LayerNormalization",
        "LeakyReLU",
        "MaxPooling1D",
        "MaxPooling2D",
        "Maximum",
        "Multiply",
        "Normalization",
        "PReLU",
        "Permute",
        "ReLU",
        "Rescaling",
        "Reshape",
        "SeparableConv2D",
        "Softmax",
        "SpatialDropout2D",
        "Subtract",
        "UpSampling2D",
        "ZeroPadding1D",
        "ZeroPadding2D",
    )
)
_PARTS = frozenset(
    (
        "Functional",
        "Sequential",
        "DTypePolicy",
        "__keras_tensor__",
        "__tuple__",
        "L1",
        "L2",
        "L1L2",
        "Constant",
        "GlorotNormal",
        "GlorotUniform",
        "HeNormal",
        "HeUniform",
        "LecunNormal",
        "LecunUniform",
        "Ones",
        "RandomNormal",
        "RandomUniform",
        "TruncatedNormal",
        "VarianceScaling",
        "Zeros",
    )
)
_MODULE = re.compile(r"keras(\.(src|models|layers|initializers|regularizers|functional|sequential|dtype_policies))*")
_MODELS = ("Functional", "Sequential")
_MARKS = ("__keras_tensor__", "__tuple__")  # of values, which come of no module
_MEMBERS = {"config.json", "metadata.json", "model.weights.h5"}
_CONVOLUTIONS = ("Conv1D", "Conv2D", "DepthwiseConv2D", "SeparableConv2D")


def archived(data: bytes) -> tuple[dict[str, Any], bytes]:
    """The configuration, which was checked, and the weights, an HDF5 file, of a .keras file. Raises SourceError."""
    try:
        with ZipFile(BytesIO(data)) as archive:
            members = archive.infolist()
            names = [member.filename for member in members]
            if sorted(names) != sorted(_MEMBERS):
                odd = sorted(set(names) ^ _MEMBERS) or names
                raise SourceError("source_malformed", f"the archive has missing, odd or doubled members: {odd[:5]}")
            for member in members:
                if member.flag_bits & 1 or member.compress_type not in (0, 8):
                    raise SourceError("source_malformed", f"{member.filename} is encrypted, or packed in another way")
                bound = MAX_WEIGHTS if member.filename == "model.weights.h5" else MAX_CONFIG
                if member.file_size > min(bound, MAX_RATIO * max(member.compress_size, 1000)):
                    raise SourceError("source_too_large", f"{member.filename} would unfold to {member.file_size} bytes")
            config, weights = archive.read("config.json"), archive.read("model.weights.h5")
    # zipfile has no error of its own for most of what can be wrong in an archive
    except (BadZipFile, EOFError, NotImplementedError, OSError, RuntimeError, ValueError, zlib.error) as error:
        raise SourceError("source_malformed", f"the file is no archive of Keras: {str(error)[:200]!r}") from None
    value = parsed_config(config)
    check_config(value)
    return value, weights


def parsed_config(config: bytes | str) -> dict[str, Any]:
    """A model's configuration, without how it was trained. Raises SourceError."""
    try:
        if len(config) > MAX_CONFIG:
            raise SourceError("source_too_large", f"the configuration has {len(config)} bytes")
        value = json.loads(config)
    except (ValueError, RecursionError):
        raise SourceError("source_malformed", "the configuration of the model is no JSON") from None
    if not isinstance(value, dict):
        raise SourceError("source_malformed", "the configuration of the model is no object")
    return {name: part for name, part in value.items() if name != "compile_config"}


def check_config(value: Any, depth: int = 0) -> None:
    """Raises SourceError: source_code for what would bring code, source_unsupported for other layers of Keras."""
    if depth > MAX_DEPTH:
        raise SourceError("source_malformed", "the configuration of the model is nested too deep")
    if isinstance(value, list):
        for part in value:
            check_config(part, depth + 1)
    if not isinstance(value, dict):
        return
    if "class_name" in value:
        _check_class(value)
    elif "module" in value or "registered_name" in value:
        raise SourceError("source_code", "the configuration names a module and no class")
    for part in value.values():
        check_config(part, depth + 1)


def keras_inputs(config: dict[str, Any]) -> dict[str, Shape]:
    """The shape of each input by its name. Raises SourceError "source_unsupported"."""
    found: dict[str, Shape] = {}
    for layer in _layers(config):
        own = layer["config"]
        if layer["class_name"] != "InputLayer":
            continue
        shape, name = own.get("batch_shape"), own.get("name")
        if not isinstance(shape, list) or not isinstance(name, str) or own.get("dtype") != "float32":
            raise SourceError("source_unsupported", "an input of the model is no tensor of FP32")
        if not all(dim is None or type(dim) is int for dim in shape):
            raise SourceError("source_unsupported", f"the shape of {name[:80]!r} is none")
        found[name] = tuple(shape)
    return shaped(found)


def classes(config: dict[str, Any]) -> int:
    """How many classes the one output has, where it is a distribution over them by a softmax at the end; else 0."""
    by_name = {layer["config"].get("name"): layer for layer in _layers(config)}
    last = next(reversed(by_name.values()))
    outputs = config["config"].get("output_layers")
    if outputs is not None:
        # one as [name, node, tensor], or a list of one of these
        while isinstance(outputs, list) and len(outputs) == 1:
            outputs = outputs[0]
        named = isinstance(outputs, list) and len(outputs) == 3 and isinstance(outputs[0], str)
        last = by_name.get(outputs[0] if named else None, {})
    own = last.get("config", {})
    units = own.get("units")
    ends = last.get("class_name") == "Dense" and own.get("activation") == "softmax" and type(units) is int
    return int(units) if ends and 0 < units <= MAX_CLASSES else 0


def convolves(config: dict[str, Any]) -> bool:
    """Whether any layer is a convolution, in models within the model too."""
    return any(
        layer["class_name"] in _CONVOLUTIONS or (layer["class_name"] in _MODELS and convolves(layer))
        for layer in _layers(config)
    )


def _layers(config: dict[str, Any]) -> list[dict[str, Any]]:
    """The layers of a model, each with a class and a configuration. Raises SourceError "source_unsupported"."""
    inner = config.get("config")
    layers = inner.get("layers") if config.get("class_name") in _MODELS and isinstance(inner, dict) else None
    if not isinstance(layers, list) or not layers:
        raise SourceError("source_unsupported", "the model is no Functional or Sequential one with layers")
    if not all(
        isinstance(layer, dict) and isinstance(layer.get("class_name"), str) and isinstance(layer.get("config"), dict)
        for layer in layers
    ):
        raise SourceError("source_malformed", "a layer of the model has no class or no configuration")
    return layers


def _check_class(value: dict[str, Any]) -> None:
    name, module, registered = value["class_name"], value.get("module"), value.get("registered_name")
    shown = f"{str(module)[:80]} {str(name)[:80]}"
    if not isinstance(name, str):
        raise SourceError("source_malformed", f"a class has no name: {shown!r}")
    if name == "Lambda" or name == "__lambda__":
        raise SourceError("source_code", "a Lambda layer is code")
    ours = isinstance(module, str) and _MODULE.fullmatch(module) is not None
    if (not ours and name not in _MARKS) or registered not in (None, name):
        raise SourceError("source_code", f"the configuration asks for code of its own: {shown!r}")
    if name not in LAYERS | _PARTS:
        raise SourceError("source_unsupported", f"{shown!r} is not among the layers that are taken in")
    inner = value.get("config")
    if name == "DTypePolicy" and not (isinstance(inner, dict) and inner.get("name") == "float32"):
        raise SourceError("source_unsupported", "a layer computes in other numbers than FP32")
