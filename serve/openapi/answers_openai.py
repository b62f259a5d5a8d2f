"""What the routes answer with that are as OpenAI has them."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from serve.openapi.answers import Attribution, Notice
from toolkit.models import State
from toolkit.plan import Plan

__all__ = ["ChatCompletion", "Completion", "Embeddings", "Models", "OpenAIModel"]


class Embedding(Struct):
    """The embedding of one text."""

    object: Literal["embedding"]
    index: Annotated[int, Meta(description="The place of the text in `input`.")]
    embedding: Annotated[list[float] | str, Meta(description="Numbers, or the base64 of 32-bit floats.")]


class Tokens(Struct):
    """What was used."""

    prompt_tokens: int
    total_tokens: int


class Embeddings(Struct):
    """An embedding for each text, as OpenAI has it."""

    object: Literal["list"]
    data: list[Embedding]
    model: str
    usage: Tokens
    attribution: Attribution | UnsetType = UNSET
    ai_notice: Notice | UnsetType = UNSET


class TopToken(Struct):
    """A token that might have come, and the logarithm of its probability."""

    token: str
    logprob: float
    bytes: Annotated[list[int] | None, Meta(description="null where the token is a piece of a character.")]


class ChosenToken(TopToken):
    """The token that came."""

    top_logprobs: list[TopToken]


class ChatLogprobs(Struct):
    """For each token of an answer."""

    content: list[ChosenToken]


class TextLogprobs(Struct):
    """For each token of an answer, in the order of the text."""

    tokens: list[str]
    token_logprobs: list[float]
    top_logprobs: list[dict[str, float]]
    text_offset: list[int]


class PromptTokens(Struct):
    """What of a prompt was not run again."""

    cached_tokens: int


class AnswerTokens(Tokens):
    """What was used, by prompt and answer."""

    completion_tokens: int
    prompt_tokens_details: PromptTokens


class ChatReply(Struct):
    """What the model says."""

    role: Literal["assistant"]
    content: str


_Finish = Annotated[
    Literal["stop", "length", "content_filter"],
    Meta(
        description="stop: the model ended, or a text of `stop` came; length: as many tokens as were asked for; "
        "content_filter: what came next may not be handed out."
    ),
]


class ChatChoice(Struct):
    """The one answer."""

    index: Literal[0]
    message: ChatReply
    logprobs: ChatLogprobs | None
    finish_reason: _Finish


class TextChoice(Struct):
    """The one answer."""

    index: Literal[0]
    text: str
    logprobs: TextLogprobs | None
    finish_reason: _Finish


class _Completed(Struct, kw_only=True):
    id: str
    created: Annotated[int, Meta(description="When, in seconds since 1970.")]
    model: str
    system_fingerprint: Annotated[str, Meta(description="The first digits of the digest of the model.")]
    usage: AnswerTokens
    seed: Annotated[int, Meta(description="With the same prompt, model and sampling it gives the same text.")]
    mark: Annotated[str, Meta(description="States, signed, that a model wrote it: `sealpress receipt mark` checks it.")]
    found: Annotated[
        dict[str, int] | UnsetType, Meta(description="Personal data that were found in the answer, by category.")
    ] = UNSET
    attribution: Attribution | UnsetType = UNSET
    ai_notice: Notice | UnsetType = UNSET


class ChatCompletion(_Completed, kw_only=True):
    """The answer to the turns of a chat, as OpenAI has it."""

    object: Literal["chat.completion"]
    choices: Annotated[list[ChatChoice], Meta(min_length=1, max_length=1)]


class Completion(_Completed, kw_only=True):
    """The answer to a text, as OpenAI has it."""

    object: Literal["text_completion"]
    choices: Annotated[list[TextChoice], Meta(min_length=1, max_length=1)]


class OpenAIModel(Struct):
    """A model that is served, with what its bundle says of it and how it runs here."""

    id: Annotated[str, Meta(description="The name to ask it by.")]
    object: Literal["model"]
    created: Annotated[int, Meta(description="Since when it is served, in seconds since 1970.")]
    owned_by: str
    version: str
    digest: Annotated[str, Meta(description="SHA-256 over the manifest of the bundle: exactly this model.")]
    task: str
    licence: Annotated[str, Meta(description="An SPDX identifier.")]
    state: State
    plan: Annotated[Plan | None, Meta(description="Lanes and batches, as they were measured on this host.")]


class Models(Struct):
    """The models that the caller may ask."""

    object: Literal["list"]
    data: list[OpenAIModel]
