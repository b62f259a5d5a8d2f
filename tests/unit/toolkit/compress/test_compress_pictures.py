"""preprocessor_config.json: what transformers' own processors do with an image, and what cannot be said."""

from __future__ import annotations

import json
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from toolkit.compress.errors import SourceError
from toolkit.compress.quiet import quiet
from toolkit.compress.sources.folder import Folder
from toolkit.compress.sources.pictures import made_up_pictures, read_image_input
from toolkit.runtime.images import ImageReader
from toolkit.runtime.inputs import ImageInput

with quiet():
    from PIL import Image
    from transformers.models.convnext.image_processing_pil_convnext import ConvNextImageProcessorPil
    from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

from policies.facts import Tensor

VIT = {"size": {"height": 48, "width": 40}, "resample": 2, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}
RESNET = {"size": {"shortest_edge": 64}, "crop_pct": 0.875, "resample": 3, "image_mean": [0.4, 0.5, 0.6]}
PROCESSORS: list[tuple[Any, dict[str, Any]]] = [
    (ViTImageProcessorPil, VIT),
    (ViTImageProcessorPil, {**VIT, "do_normalize": False, "resample": 3}),
    (ConvNextImageProcessorPil, {**RESNET, "image_std": [0.2, 0.25, 0.3]}),
    (ConvNextImageProcessorPil, {**RESNET, "image_std": [0.2, 0.25, 0.3], "size": {"shortest_edge": 400}}),
]


def described(tmp_path: Path, content: object) -> ImageInput:
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(content))
    return read_image_input(Folder(tmp_path), "preprocessor_config.json")


@pytest.mark.parametrize(("processor", "fields"), PROCESSORS)
@pytest.mark.parametrize("size", [(101, 75), (60, 133)])
def test_the_tensor_is_that_of_the_processor(
    tmp_path: Path, processor: Any, fields: dict[str, Any], size: tuple[int, int]
) -> None:
    image = described(tmp_path, fields)
    width, height = size
    pixels = np.random.default_rng(0).integers(0, 256, (height // 6, width // 6, 3), dtype=np.uint8)
    picture = Image.fromarray(pixels).resize(size)
    file = BytesIO()
    picture.save(file, "PNG")
    inputs = [Tensor(name="x", dtype="float32", shape=("batch", 3, image.height, image.width))]
    given = ImageReader(inputs, image).feeds([file.getvalue()])["x"]
    with quiet():
        expected = processor(**fields)(picture, return_tensors="np")["pixel_values"]
    assert given.shape == expected.shape
    assert np.abs(given - expected).max() < 0.02  # a step of one in 255, by the rounding of the resized image


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"size": 224}, (224, 224, None)),
        ({"size": {"shortest_edge": 256}, "crop_size": {"height": 224, "width": 224}}, (224, 224, 256)),
        ({"size": {"shortest_edge": 224}}, (224, 224, 256)),
        ({"size": {"shortest_edge": 384}}, (384, 384, None)),
    ],
)
def test_the_ways_in_which_sizes_are_written(
    tmp_path: Path, fields: object, expected: tuple[int, int, int | None]
) -> None:
    image = described(tmp_path, fields)
    assert (image.height, image.width, image.shorter_side) == expected


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"size": {"height": 256, "width": 256}, "crop_size": {"height": 224, "width": 224}}, "source_unsupported"),
        ({"size": 224, "do_resize": False}, "source_unsupported"),
        ({"size": {}}, "source_unsupported"),
        ({"size": {"longest_edge": 800}}, "source_unsupported"),
        ({"size": -1}, "source_config"),
        ({"size": 10**9}, "source_config"),
        ({"size": 224, "image_std": [0, 1, 1]}, "source_config"),
        ({"size": 224, "image_mean": [0.5]}, "source_config"),
        ({"size": 224, "resample": 9}, "source_config"),
        ([], "source_config"),
    ],
)
def test_what_cannot_be_done_is_refused(tmp_path: Path, fields: object, code: str) -> None:
    with pytest.raises(SourceError) as caught:
        described(tmp_path, fields)
    assert caught.value.code == code


def test_a_folder_that_does_not_say_it_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError) as caught:
        read_image_input(Folder(tmp_path), "preprocessor_config.json")
    assert caught.value.code == "source_config"


def test_made_up_pictures_are_the_same_for_the_same_seed() -> None:
    image = ImageInput(height=32, width=24)
    assert made_up_pictures(image, 3, 1) == made_up_pictures(image, 3, 1)
    assert made_up_pictures(image, 3, 1) != made_up_pictures(image, 3, 2)
    assert len(set(made_up_pictures(image, 3, 1).items)) == 3
