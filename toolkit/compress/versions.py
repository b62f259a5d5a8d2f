"""The releases of the packages that decide which bytes a compression makes."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

__all__ = ["versions"]

_VERSIONED = (
    "sealpress",
    "torch",
    "transformers",
    "optimum",
    "onnx",
    "onnx-ir",
    "onnxscript",
    "onnxslim",
    "onnxruntime",
    "keras",
    "tensorflow-cpu",
    "tf2onnx",
    "timm",
    "tokenizers",
    "torchvision",
    "numpy",
    "pillow",
)


def versions() -> dict[str, str]:
    """The releases that made the bytes; sealpress itself may run from a checkout that was never installed."""
    found = {}
    for package in _VERSIONED:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
