"""What a person gives a model, and how that becomes tensors: it travels in the manifest of a bundle."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

__all__ = ["ImageInput", "Side", "TextInput"]

Side = Annotated[int, Meta(ge=1, le=8192)]


class TextInput(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a text becomes an answer: cut at `max_tokens`; the vectors of its tokens pooled to one, scaled to length one
    or not. With pooling "none" the first output is the answer as it is, such as logits. With "tokens" the first output
    holds the logits of a label for each token, the answer is the entities, and a longer text is read in windows."""

    max_tokens: int
    pooling: Literal["mean", "cls", "none", "tokens"]
    normalise: bool
    pad_id: int


class ImageInput(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How an image becomes a tensor (1, 3, height, width), or (1, height, width, 3) where `channels_last`.

    RGB, or BGR where `channel_order` says so, as are then mean and std; resized so that its shorter side has
    `shorter_side` pixels, or to `height` x `width` exactly where that is None; the middle of `height` x `width` cut
    out; then (value * scale - mean) / std for each channel.
    """

    height: Side
    width: Side
    shorter_side: Side | None = None
    resample: Literal["nearest", "bilinear", "bicubic", "lanczos"] = "bilinear"
    scale: float = 1 / 255
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    channels_last: bool = False
    channel_order: Literal["bgr"] | UnsetType = UNSET
