"""Images as they come in: what claims to be too large is refused by what its head says, in any thread."""

from __future__ import annotations

import struct
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO

import pytest
from PIL import Image

from compliance.keys import to_text
from policies.facts import Tensor
from policies.payload import InputError
from tests.vectors.make_bundles import HERE, SIGNER
from toolkit.bundle import Bundle
from toolkit.runtime.images import ImageReader
from toolkit.runtime.inputs import ImageInput

GOLDEN = HERE / "golden-pictures-v1"


@pytest.fixture
def reader() -> ImageReader:
    inputs = [Tensor(name="x", dtype="float32", shape=("batch", 3, 8, 8))]
    return ImageReader(inputs, ImageInput(width=8, height=8))


def head(width: int, height: int) -> bytes:
    """A PNG that says its size, and ends where its pixels would begin."""
    said = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + said + struct.pack(">I", zlib.crc32(said)) + bytes(4) + b"IDAT"
    )


# Pillow says nothing of the first, warns of the second, and refuses the third
@pytest.mark.parametrize("side", [7_100, 10_000, 100_000])
def test_a_size_beyond_the_limit_is_refused_without_a_word_of_the_library(reader: ImageReader, side: int) -> None:
    with pytest.raises(InputError) as caught:
        reader.feeds([head(side, side)])
    assert caught.value.code == "input_too_large"


@pytest.mark.parametrize("last", [False, True])
def test_channels_come_in_the_order_and_the_place_that_the_model_wants(last: bool) -> None:
    how = ImageInput(width=2, height=2, scale=1.0, mean=(1.0, 2.0, 3.0), channels_last=last, channel_order="bgr")
    shape: tuple[int | str, ...] = ("batch", 2, 2, 3) if last else ("batch", 3, 2, 2)
    file = BytesIO()
    Image.new("RGB", (4, 4), (10, 20, 30)).save(file, "PNG")
    tensor = ImageReader([Tensor(name="x", dtype="float32", shape=shape)], how).feeds([file.getvalue()])["x"]
    assert tensor.shape == (1, *shape[1:])
    pixel = tensor[0, 0, 0] if last else tensor[0, :, 0, 0]
    assert pixel.tolist() == [30 - 1, 20 - 2, 10 - 3]


@pytest.mark.parametrize(("colour", "label"), [((9, 0, 0), "red"), ((0, 9, 0), "green"), ((0, 0, 9), "blue")])
def test_a_golden_bundle_of_pictures_in_bgr_stays_readable(colour: tuple[int, int, int], label: str) -> None:
    bundle = Bundle.read(GOLDEN, (to_text(SIGNER.public),))
    assert isinstance(bundle.manifest.image, ImageInput)
    assert isinstance(bundle.manifest.labels, tuple)
    file = BytesIO()
    Image.new("RGB", (4, 4), colour).save(file, "PNG")
    feeds = bundle.reader().feeds([file.getvalue()])
    [order] = feeds["pixels"].mean(axis=(1, 2)).argsort(axis=1)
    assert bundle.manifest.labels[order[-1]] == label


def test_lanes_leave_the_filters_of_warnings_as_they_were(reader: ImageReader) -> None:
    file = BytesIO()
    Image.new("RGB", (9, 9)).save(file, "PNG")
    before = list(warnings.filters)
    with ThreadPoolExecutor(4) as lanes:
        list(lanes.map(lambda _: reader.feeds([file.getvalue()]), range(200)))
    assert list(warnings.filters) == before


@pytest.mark.parametrize("encoded", [b"", b"GIF89a", head(8, 8), head(8, 8)[:20]])
def test_what_is_no_whole_image_is_refused(reader: ImageReader, encoded: bytes) -> None:
    with pytest.raises(InputError) as caught:
        reader.feeds([encoded])
    assert caught.value.code == "input_type"
