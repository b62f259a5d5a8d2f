"""What Keras files and SavedModels have in common: a model that was looked at, and how images become its tensor."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal

import numpy as np
from msgspec import Struct
from msgspec.structs import replace

from toolkit.compress.data import Items, gathered
from toolkit.compress.errors import SourceError
from toolkit.compress.source import Measure
from toolkit.compress.sources.folder import Folder
from toolkit.compress.sources.pictures import made_up_pictures, read_image_input
from toolkit.runtime.inputs import ImageInput

__all__ = ["PREPROCESSOR", "Shape", "TensorflowSource", "name_of", "shaped", "stated_image"]

PREPROCESSOR = "preprocessor_config.json"
MAX_SIDE = 8192

# of an input: the batch first, which is open, and then sizes that are known
Shape = tuple[int | None, ...]

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:/-]{0,199}")


class TensorflowSource(Struct, frozen=True, kw_only=True):
    """All of a Source (toolkit.compress.source) but `load`. `inputs` are FP32, in the layout of the model.

    With an `image` and `labels` the answer is the logits, from before the softmax that the model ends in.
    """

    name: str
    digest: str
    licences: tuple[str, ...]
    licence_text: str | None
    notice: str | None
    text: None = None
    image: ImageInput | None
    tokenizer: None = None
    labels: tuple[str, ...]
    languages: tuple[str, ...] = ()
    measure: Measure
    parameters: int
    convolves: bool
    inputs: dict[str, Shape]

    @property
    def task(self) -> Literal["tensors", "image-classification", "image-feature-extraction"]:
        if self.image is None:
            return "tensors"
        return "image-classification" if self.labels else "image-feature-extraction"

    def examples(self, count: int, seed: int = 0) -> Items:
        """Pictures that are made up, or normal random numbers."""
        if self.image is not None:
            return made_up_pictures(self.image, count, seed)
        random = np.random.default_rng(seed)
        shapes = {name: (1, *(dim or 1 for dim in shape[1:])) for name, shape in self.inputs.items()}
        return gathered(
            [
                {name: random.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
                for _ in range(count)
            ],
            "tensors",
        )


def name_of(stem: str) -> str:
    """The name of a model from that of its file or folder."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", stem).strip("-.")[:100] or "model"


def shaped(inputs: Mapping[str, Shape]) -> dict[str, Shape]:
    """The inputs as they came. Raises SourceError "source_unsupported" for what has no plain name or open sizes."""
    if not inputs:
        raise SourceError("source_unsupported", "the model does not say what it takes: bring one that was built")
    for name, shape in inputs.items():
        if not _NAME.fullmatch(name):
            raise SourceError("source_unsupported", f"the input {name[:80]!r} has no plain name")
        if not shape or shape[0] is not None or not all(dim is not None and 0 < dim <= MAX_SIDE for dim in shape[1:]):
            raise SourceError("source_unsupported", f"{name[:80]!r} has no open batch before sizes that are known")
    return dict(inputs)


def stated_image(folder: Folder, inputs: Mapping[str, Shape], usual: ImageInput | None = None) -> ImageInput | None:
    """How an image becomes the one input: as a preprocessor_config.json beside the model says, else as is `usual`.

    Raises SourceError: source_config where the file does not fit the input, source_unsupported.
    """
    if not folder.has(PREPROCESSOR):
        return usual
    stated = read_image_input(folder, PREPROCESSOR)
    [shape, *others] = inputs.values()
    if not others and shape[1:] == (stated.height, stated.width, 3):
        return replace(stated, channels_last=True)
    if not others and shape[1:] == (3, stated.height, stated.width):
        return stated
    given = f"images of {stated.height} x {stated.width}"
    raise SourceError("source_config", f"{PREPROCESSOR} speaks of {given}, the model takes {list(inputs.values())}")
