"""Images: encoded files in, one tensor out, as the model's preprocessing wants it."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from io import BytesIO
from threading import Lock
from typing import Any

import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from policies.facts import Tensor
from policies.payload import InputError, Payload
from toolkit.extras import needs
from toolkit.runtime.inputs import ImageInput
from toolkit.runtime.readers import Outputs
from toolkit.runtime.session import Feeds, ModelError

__all__ = ["ImageReader"]

FORMATS = ("PNG", "JPEG", "WEBP", "BMP")
MAX_PIXELS = 50_000_000
MAX_IMAGES = 256
_OPENING = Lock()  # `warnings` are those of the whole process, and lanes are threads


class _Images(Struct, forbid_unknown_fields=True):
    images: list[str]


class ImageReader:
    """Images, in a payload {"images": [name of a blob, ...]} with the encoded files as its blobs. An item is bytes."""

    together = True

    def __init__(self, inputs: Sequence[Tensor], image: ImageInput, *, classes: bool = False) -> None:
        """`classes`: the model gives logits. Raises ModelError for all but one tensor of four dimensions."""
        if len(inputs) != 1 or len(inputs[0].shape) != 4 or inputs[0].dtype != "float32":
            raise ModelError("model_malformed", "a model of images takes one float32 tensor of four dimensions")
        self._name = inputs[0].name
        self._image = image
        self._gives = "logits" if classes else "embedding"

    def items(self, payload: Payload) -> list[bytes]:
        """See Reader. Raises InputError."""
        try:
            names = msgspec.convert(payload.value, _Images).images
        except msgspec.ValidationError as error:
            raise InputError(
                "input_type", f'images are given as {{"images": [NAME, ...]}} with blobs: {error}'
            ) from None
        if not 0 < len(names) <= MAX_IMAGES:
            raise InputError("input_too_large" if names else "input_empty", f"{len(names)} images in one call")
        if missing := [name for name in names if name not in payload.blobs]:
            raise InputError("input_type", f"{len(missing)} of the images named came without their bytes")
        return [payload.blobs[name] for name in names]

    def feeds(self, items: Sequence[bytes]) -> Feeds:
        """One float32 tensor (batch, 3, height, width), or (batch, height, width, 3)."""
        return {self._name: np.stack([self._tensor(item) for item in items])}

    def answers(self, outputs: Sequence[NDArray[Any]], feeds: Feeds) -> NDArray[np.float32]:
        """The first output as it is, such as logits (batch, classes)."""
        return outputs[0]

    def named(self, outputs: Mapping[str, NDArray[Any]], feeds: Feeds) -> Outputs:
        """`logits` (batch, classes), or `embedding` (batch, ...)."""
        return {self._gives: self.answers(list(outputs.values()), feeds)}

    def size(self, item: bytes) -> int:
        """One: all are brought to one size."""
        return 1

    def cost(self, payload: Payload) -> int:
        """How many there are."""
        return len(self.items(payload))

    def usage(self, feeds: Feeds) -> dict[str, int]:
        """See Reader."""
        return {"images": len(feeds[self._name])}

    def _tensor(self, encoded: bytes) -> NDArray[np.float32]:
        with needs("images"):
            from PIL import Image, ImageFile
        how = self._image
        try:
            with _OPENING, warnings.catch_warnings():
                # what Pillow warns of is refused below
                warnings.simplefilter("ignore", Image.DecompressionBombWarning)
                opened = Image.open(BytesIO(encoded), formats=FORMATS)
            # whatever another library of this process set: of an image that was cut short the rest would be black
            ImageFile.LOAD_TRUNCATED_IMAGES = False
            with opened:
                # what the file says of its size is looked at before anything of that size is made
                if opened.width * opened.height > MAX_PIXELS:
                    raise InputError("input_too_large", f"an image of more than {MAX_PIXELS} pixels")
                picture = opened.convert("RGB")
        except Image.DecompressionBombError:
            raise InputError("input_too_large", f"an image of more than {MAX_PIXELS} pixels") from None
        except (OSError, SyntaxError, ValueError) as error:
            raise InputError("input_type", f"an image cannot be read ({type(error).__name__})") from None
        size = how.width, how.height
        if how.shorter_side is not None:
            # the longer side is rounded down, as torchvision and transformers do
            width, height = (how.shorter_side * side // min(picture.size) for side in picture.size)
            size = max(how.width, width), max(how.height, height)
        picture = picture.resize(size, Image.Resampling[how.resample.upper()])
        left, top = (size[0] - how.width) // 2, (size[1] - how.height) // 2
        cut = picture.crop((left, top, left + how.width, top + how.height))
        mean, std = np.array(how.mean, np.float32), np.array(how.std, np.float32)
        pixels = np.asarray(cut, np.float32)
        if how.channel_order == "bgr":
            pixels = pixels[..., ::-1]
        values = (pixels * np.float32(how.scale) - mean) / std
        return values if how.channels_last else np.ascontiguousarray(values.transpose(2, 0, 1))
