"""How a folder says that an image becomes a tensor: preprocessor_config.json, and pictures that are made up."""

from __future__ import annotations

from io import BytesIO
from typing import Annotated, Literal

import numpy as np
from msgspec import UNSET, Meta, Struct

from toolkit.compress.data import Items, gathered
from toolkit.compress.errors import SourceError
from toolkit.compress.sources.folder import Folder
from toolkit.extras import needs
from toolkit.runtime.inputs import ImageInput, Side

__all__ = ["made_up_pictures", "read_image_input"]

_RESAMPLE: dict[int, Literal["nearest", "lanczos", "bilinear", "bicubic"]] = {
    0: "nearest",
    1: "lanczos",
    2: "bilinear",
    3: "bicubic",
}
_CROP_PCT_BELOW = 384  # ConvNeXt's processor crops below this size only

Three = tuple[float, float, float]
Positive = Annotated[float, Meta(gt=0)]


class _Size(Struct):
    height: Side | None = None
    width: Side | None = None
    shortest_edge: Side | None = None


class _Preprocessor(Struct):
    """preprocessor_config.json of transformers' image processors."""

    size: Side | _Size
    crop_size: Side | _Size | None = None
    crop_pct: Annotated[float, Meta(gt=0, le=1)] | None = None
    resample: Annotated[int, Meta(ge=0, le=3)] = 2
    rescale_factor: Positive = 1 / 255
    image_mean: Three = (0.0, 0.0, 0.0)
    image_std: tuple[Positive, Positive, Positive] = (1.0, 1.0, 1.0)
    do_resize: bool = True
    do_center_crop: bool | None = None
    do_rescale: bool = True
    do_normalize: bool = True
    do_flip_channel_order: bool = False


def read_image_input(folder: Folder, name: str) -> ImageInput:
    """Raises SourceError: source_config, source_unsupported for what an ImageInput cannot say."""
    if not folder.has(name):
        raise SourceError("source_config", f"{name} is missing: it says how an image becomes a tensor")
    read = folder.json(name, _Preprocessor)
    if not read.do_resize:
        raise SourceError("source_unsupported", f"{name}: images are not resized, and the model takes one size")
    height, width, shorter = _geometry(read, name)
    return ImageInput(
        height=height,
        width=width,
        shorter_side=shorter,
        resample=_RESAMPLE[read.resample],
        scale=read.rescale_factor if read.do_rescale else 1.0,
        mean=read.image_mean if read.do_normalize else (0.0, 0.0, 0.0),
        std=read.image_std if read.do_normalize else (1.0, 1.0, 1.0),
        channel_order="bgr" if read.do_flip_channel_order else UNSET,
    )


def made_up_pictures(image: ImageInput, count: int, seed: int) -> Items:
    """Pictures of soft patches of colour, as PNG files: they show that two models compute the same, no more."""
    with needs("images"):
        from PIL import Image
    random = np.random.default_rng(seed)
    encoded = []
    for _ in range(count):
        patches = random.integers(0, 256, (6, 6, 3), dtype=np.uint8)
        picture = Image.fromarray(patches).resize((image.width + 16, image.height + 16), Image.Resampling.BICUBIC)
        file = BytesIO()
        picture.save(file, "PNG")
        encoded.append(file.getvalue())
    return gathered(encoded, "image")


def _geometry(read: _Preprocessor, name: str) -> tuple[int, int, int | None]:
    """Height and width of what is cut out, and the shorter side before; None where the image is squeezed to them."""
    size = _Size(height=read.size, width=read.size) if isinstance(read.size, int) else read.size
    crop = _Size(height=read.crop_size, width=read.crop_size) if isinstance(read.crop_size, int) else read.crop_size
    if size.shortest_edge is not None and read.crop_size is None:
        # ConvNeXt and ResNet: the shorter side is the size divided by crop_pct, and the middle of that size is cut out
        edge = size.shortest_edge
        if edge >= _CROP_PCT_BELOW:
            return edge, edge, None
        return edge, edge, int(edge / (read.crop_pct or 224 / 256))
    cropped = crop is not None and read.do_center_crop is not False
    if size.shortest_edge is not None and cropped and crop is not None and crop.height and crop.width:
        return crop.height, crop.width, size.shortest_edge
    if size.height and size.width and (not cropped or crop == size):
        return size.height, size.width, None
    raise SourceError("source_unsupported", f"{name}: this way to resize and crop is not taken in")
