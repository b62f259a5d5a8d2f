"""What a person gives a model, and how that becomes tensors: it travels in the manifest of a bundle."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

__all__ = ["Chat", "Generation", "ImageInput", "Side", "TextInput"]

Side = Annotated[int, Meta(ge=1, le=8192)]


class TextInput(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a text becomes an answer: cut at `max_tokens`; the vectors of its tokens pooled to one, scaled to length one
    or not. With pooling "none" the first output is the answer as it is, such as logits. With "tokens" the first output
    holds the logits of a label for each token, the answer is the entities, and a longer text is read in windows. With
    "next" the answer are the logits of the token that comes next: the model generates (`Generation`)."""

    max_tokens: int
    pooling: Literal["mean", "cls", "none", "tokens", "next"]
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


class Chat(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How turns become one prompt: what stands before the first, between them, and after the last for the reply.

    Found from a template when the model was taken in (toolkit.compress.sources.chat), so that no template, which is a
    program, runs where the model does. `system` stands before a system text, None where the model takes none, and
    `begin` before the first turn of a user where there is no system text. `trims`: contents lose the spaces around
    them.
    """

    begin: str
    system: str | None
    system_user: str | None
    user_assistant: str
    assistant_user: str
    reply: str
    trims: bool = False


class Generation(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a model generates: `context` is the most tokens of prompt and answer together; any of the ids `ends` ends the
    answer; `begin` are the ids before a prompt that is no chat. `chat` is None for a model without turns. `rounded`
    says in what types of few bits the weights were when they came, empty for floats."""

    context: Annotated[int, Meta(ge=2, le=10_000_000)]
    ends: tuple[Annotated[int, Meta(ge=0)], ...]
    begin: tuple[Annotated[int, Meta(ge=0)], ...] = ()
    chat: Chat | None = None
    rounded: str = ""
