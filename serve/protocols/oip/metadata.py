"""What a model takes and gives, in the protocol's words: names, datatypes and shapes, -1 for a size that is open."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from policies.facts import Tensor
from serve.protocols.oip.datatypes import DATATYPES
from serve.protocols.payloads import gives, takes
from toolkit.bundle import BundleManifest

__all__ = ["LABEL", "PLATFORM", "Described", "inputs_of", "outputs_of"]

PLATFORM = "onnxruntime_onnx"
# beside the logits of a model whose classes have names: that of the best one
LABEL = "label"


class Described(Struct, frozen=True):
    name: str
    datatype: str
    shape: tuple[int, ...]


def inputs_of(manifest: BundleManifest) -> tuple[Described, ...]:
    """A text or an image is one element of BYTES."""
    if (kind := takes(manifest)) != "tensors":
        return (Described(kind, "BYTES", (-1,)),)
    return tuple(map(_described, manifest.inputs))


def outputs_of(manifest: BundleManifest) -> tuple[Described, ...]:
    """The outputs by the names under which answers have them."""
    match gives(manifest):
        case "entities":
            return (Described("entities", "BYTES", (-1,)),)
        case "logits":
            # of a model that generates: one for each token that may come next
            logits = next((tensor.shape for tensor in manifest.outputs if tensor.name == "logits"), ())
            classes = (len(manifest.labels),) if manifest.labels else _sizes(logits[-1:])
            return Described("logits", "FP32", (-1, *classes)), Described(LABEL, "BYTES", (-1,))
        case "embedding":
            sizes = manifest.outputs[0].shape
            # of a text (batch, tokens, hidden) is pooled to (batch, hidden)
            return (Described("embedding", "FP32", (-1, *_sizes(sizes[-1:] if manifest.text else sizes[1:]))),)
        case "tensors":
            return tuple(map(_described, manifest.outputs))


def _described(tensor: Tensor) -> Described:
    return Described(tensor.name, DATATYPES.get(tensor.dtype, tensor.dtype.upper()), _sizes(tensor.shape))


def _sizes(shape: Sequence[int | str]) -> tuple[int, ...]:
    return tuple(-1 if isinstance(size, str) else size for size in shape)
