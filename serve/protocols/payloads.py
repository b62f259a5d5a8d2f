"""What a model takes and gives, and the payload that its reader makes tensors of: the same for every protocol."""

from __future__ import annotations

import binascii
from base64 import b64decode
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

from policies.payload import InputError, Payload
from serve.problems import RequestError
from toolkit.bundle import BundleManifest
from toolkit.runtime.images import MAX_IMAGES
from toolkit.runtime.readers import checked_texts

__all__ = ["Given", "Gives", "Takes", "from_base64", "gives", "images", "label", "takes", "tensors", "texts"]

Takes = Literal["text", "image", "tensors"]
Gives = Literal["embedding", "logits", "entities", "tensors"]


class Given(NamedTuple):
    """A tensor as a client gives it: its bytes are in the order of C, the lowest byte first."""

    dtype: str
    shape: Sequence[int]
    data: bytes


def takes(manifest: BundleManifest) -> Takes:
    """What a person gives this model."""
    return "text" if manifest.text else "image" if manifest.image else "tensors"


def gives(manifest: BundleManifest) -> Gives:
    """What it answers with: the name of its output, or tensors of its own names."""
    if takes(manifest) == "tensors":
        return "tensors"
    if manifest.text and manifest.text.pooling == "tokens":
        return "entities"
    return "logits" if manifest.labels or manifest.generation else "embedding"


def label(manifest: BundleManifest, index: int) -> str:
    """The name of a class; its number where the model has more classes than names."""
    names = manifest.labels or ()
    return names[index] if index < len(names) else str(index)


def texts(given: list[str]) -> Payload:
    """Raises InputError."""
    return Payload.checked({"texts": checked_texts(given)})


def images(given: Sequence[bytes]) -> Payload:
    """Encoded files, such as PNG. Raises InputError."""
    if not 0 < len(given) <= MAX_IMAGES:
        code = "input_too_large" if given else "input_empty"
        raise InputError(code, f"{len(given)} images in one call; 1 to {MAX_IMAGES} are taken")
    blobs = {str(number): data for number, data in enumerate(given)}
    return Payload.checked({"images": list(blobs)}, blobs)


def from_base64(text: str) -> bytes:
    """An image that came in JSON. Raises RequestError."""
    try:
        return b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise RequestError("tensor_input", "an image in JSON is the base64 of its file") from None


def tensors(given: Mapping[str, Given], manifest: BundleManifest) -> Payload:
    """One item: every input of the model, each with the type and the shape that the model takes.

    Raises RequestError, InputError. What is named in its messages are the model's own inputs.
    """
    expected = {tensor.name: tensor for tensor in manifest.inputs}
    if given.keys() != expected.keys():
        raise RequestError("tensor_input", f"the model takes exactly these tensors: {', '.join(sorted(expected))}")
    for name, one in given.items():
        sizes = expected[name].shape
        fits = len(one.shape) == len(sizes) and all(
            size >= 1 and (isinstance(taken, str) or size == taken)
            for size, taken in zip(one.shape, sizes, strict=True)
        )
        if not fits or one.dtype != expected[name].dtype:
            shown = ", ".join(map(str, sizes))
            raise RequestError("tensor_input", f"{name}: the model takes {expected[name].dtype} ({shown})")
    described = {name: {"dtype": one.dtype, "shape": list(one.shape), "blob": name} for name, one in given.items()}
    return Payload.checked({"tensors": [described]}, {name: one.data for name, one in given.items()})
