"""Bundles of models that are small enough to be done by hand, one of each kind that is served."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from compliance.crypto import Signer
from policies.facts import Tensor
from tests.vectors.make_bundles import WORDS
from toolkit.bundle import Bundle, BundleManifest, Measured, Measurements, write_bundle
from toolkit.runtime.inputs import ImageInput, TextInput

DTYPES = {
    "bool": TensorProto.BOOL,
    "uint8": TensorProto.UINT8,
    "uint16": TensorProto.UINT16,
    "uint32": TensorProto.UINT32,
    "uint64": TensorProto.UINT64,
    "int8": TensorProto.INT8,
    "int16": TensorProto.INT16,
    "int32": TensorProto.INT32,
    "int64": TensorProto.INT64,
    "float16": TensorProto.FLOAT16,
    "float32": TensorProto.FLOAT,
    "float64": TensorProto.DOUBLE,
}
IDS = Tensor(name="input_ids", dtype="int64", shape=("batch", "tokens"))
TEXT = TextInput(max_tokens=8, pooling="mean", normalise=False, pad_id=0)
LABELS = ("calm", "urgent", "unclear")


def manifest(name: str, inputs: Sequence[Tensor], outputs: Sequence[Tensor], **more: Any) -> BundleManifest:
    """What the bundle of a model says of it, before it is written."""
    return BundleManifest(
        format=1,
        name=name,
        version="1",
        digest="",
        licence="MIT",
        inputs=tuple(inputs),
        outputs=tuple(outputs),
        recipe=(),
        versions={"sealpress": "0.1.0"},
        files={},
        **{"task": "feature-extraction", **more},
    )


EMBEDDER = manifest(
    "embedder", [IDS], [Tensor(name="last_hidden_state", dtype="float32", shape=("batch", "tokens", 4))], text=TEXT
)
CLASSIFIER = manifest(
    "classifier",
    [IDS],
    [Tensor(name="logits", dtype="float32", shape=("batch", 3))],
    task="text-classification",
    text=msgspec.structs.replace(TEXT, pooling="none"),
    labels=LABELS,
)
PICTURES = manifest(
    "pictures",
    [Tensor(name="pixels", dtype="float32", shape=("batch", 3, 2, 2))],
    [Tensor(name="logits", dtype="float32", shape=("batch", 3))],
    task="image-classification",
    image=ImageInput(height=2, width=2),
    labels=LABELS,
)
NUMBERS = manifest(
    "numbers",
    [Tensor(name=dtype, dtype=dtype, shape=("rows", 2)) for dtype in DTYPES],
    [Tensor(name=f"{dtype}_same", dtype=dtype, shape=("rows", 2)) for dtype in DTYPES],
    task="other",
)


def write(folder: Path, draft: BundleManifest, signer: Signer, version: str = "1") -> Bundle:
    """One of the four above, signed, at folder/NAME.bundle.

    Row i of the table of the embedder is 4i, 4i+1, 4i+2, 4i+3; the classifier gives the mean of the first three columns
    over its tokens, `pictures` the mean of each channel, `numbers` what it was given.
    """
    model = helper.make_model(
        _graph(draft), opset_imports=[helper.make_opsetid("", 20)], ir_version=10
    ).SerializeToString()
    files = {"model.onnx": model, "LICENSE": b"MIT License\n"}
    if draft.text:
        words = {word: number for number, word in enumerate(WORDS)}
        tokenizer = {
            "version": "1.0",
            "added_tokens": [],
            "pre_tokenizer": {"type": "Whitespace"},
            "model": {"type": "WordLevel", "vocab": words, "unk_token": "[UNK]"},
        }
        files["tokenizer.json"] = json.dumps(tokenizer).encode()
    measured = Measured(size_bytes=len(model), latency_ms=1.0, fidelity=1.0)
    about = Measurements(before=measured, after=measured, machine="none", method={})
    draft = msgspec.structs.replace(draft, version=version)
    return write_bundle(folder / f"{draft.name}.bundle", draft, files, about, signer)


def _graph(draft: BundleManifest) -> onnx.GraphProto:
    table = numpy_helper.from_array(np.arange(24, dtype=np.float32).reshape(6, 4), "table")
    first = [
        numpy_helper.from_array(np.array(value), name) for name, value in (("one", [1]), ("three", [3]), ("zero", [0]))
    ]
    match draft.name:
        case "embedder":
            nodes, constants = [helper.make_node("Gather", ["table", "input_ids"], ["last_hidden_state"])], [table]
        case "classifier":
            nodes = [
                helper.make_node("Gather", ["table", "input_ids"], ["rows"]),
                helper.make_node("ReduceMean", ["rows", "one"], ["mean"], keepdims=0),
                helper.make_node("Slice", ["mean", "zero", "three", "one"], ["logits"]),
            ]
            constants = [table, *first]
        case "pictures":
            axes = numpy_helper.from_array(np.array([2, 3]), "axes")
            nodes, constants = [helper.make_node("ReduceMean", ["pixels", "axes"], ["logits"], keepdims=0)], [axes]
        case _:
            nodes = [helper.make_node("Identity", [name], [f"{name}_same"]) for name in DTYPES]
            constants = []
    taken, given = ([_value(tensor) for tensor in tensors] for tensors in (draft.inputs, draft.outputs))
    return helper.make_graph(nodes, draft.name, taken, given, constants)


def _value(tensor: Tensor) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(tensor.name, DTYPES[tensor.dtype], list(tensor.shape))
