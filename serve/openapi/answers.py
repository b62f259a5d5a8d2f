"""What the routes answer with. A test holds real answers to it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from policies.facts import Finding
from serve.protocols.oip.metadata import Described
from toolkit.models import State
from toolkit.plan import Plan

__all__ = [
    "Alive",
    "ChatCompletion",
    "Completion",
    "Embeddings",
    "InferAnswer",
    "ModelMetadata",
    "ModelReady",
    "Models",
    "Nothing",
    "OIPLive",
    "OIPProblem",
    "OIPReady",
    "OpenAIModel",
    "OpenAIProblem",
    "Prediction",
    "Problem",
    "Readiness",
    "Receipt",
    "RepositoryModel",
    "ServerMetadata",
    "Started",
]

Base64 = Annotated[str, Meta(extra_json_schema={"contentEncoding": "base64"})]


class Alive(Struct):
    """The process answers."""

    alive: Literal[True]


class Started(Struct):
    """Models were loaded."""

    started: Literal[True]


class Readiness(Struct):
    """Whether calls can be answered, and what is missing for it."""

    ready: bool
    missing: Annotated[
        dict[str, str], Meta(description="By what is missing, journal or models, the code of the reason.")
    ]
    warnings: Annotated[dict[str, str], Meta(description="What will be missing soon.")]


class Embedding(Struct):
    """The embedding of one text."""

    object: Literal["embedding"]
    index: Annotated[int, Meta(description="The place of the text in `input`.")]
    embedding: Annotated[list[float] | str, Meta(description="Numbers, or the base64 of 32-bit floats.")]


class Tokens(Struct):
    """What was used."""

    prompt_tokens: int
    total_tokens: int


_Attribution = Annotated[str, Meta(description="Model, parent and licence, where a rule wants them named.")]
_Notice = Annotated[str, Meta(description="What persons are told of the system, where a rule wants it said.")]


class Embeddings(Struct):
    """An embedding for each text, as OpenAI has it."""

    object: Literal["list"]
    data: list[Embedding]
    model: str
    usage: Tokens
    attribution: _Attribution | UnsetType = UNSET
    ai_notice: _Notice | UnsetType = UNSET


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
    attribution: _Attribution | UnsetType = UNSET
    ai_notice: _Notice | UnsetType = UNSET


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


_NUMBERS = {"type": "array", "items": {"type": ["number", "null", "array"]}}
_CLASSES = {
    "type": "array",
    "items": {
        "type": "object",
        "required": ["label", "score"],
        "properties": {"label": {"type": "string"}, "score": {"type": ["number", "null"]}},
    },
}
_ENTITIES = {
    "type": "array",
    "items": {
        "type": "object",
        "required": ["start", "end", "label", "score"],
        "properties": {
            "start": {"type": "integer"},
            "end": {"type": "integer"},
            "label": {"type": "string"},
            "score": {"type": "number"},
        },
    },
}


class Prediction(Struct):
    """What a model gave, for each item of `inputs`."""

    model: str
    version: str
    digest: str
    outputs: Annotated[
        Any,
        Meta(
            description="For each item a list of numbers, its classes with the best first, or the entities in it; for "
            "a model of tensors nested lists by name. What is not finite is null.",
            extra_json_schema={
                "anyOf": [
                    {"type": "array", "items": {"anyOf": [_NUMBERS, _CLASSES, _ENTITIES]}},
                    {"type": "object", "additionalProperties": {"type": "array"}},
                ]
            },
        ),
    ]
    usage: Annotated[dict[str, int], Meta(description="What was used, such as texts, tokens or images.")]
    attribution: _Attribution | UnsetType = UNSET
    ai_notice: _Notice | UnsetType = UNSET


class OIPLive(Struct):
    """The process answers."""

    live: Literal[True]


class OIPReady(Struct):
    """Whether calls can be answered; /readyz says what is missing."""

    ready: bool


class ServerMetadata(Struct):
    """The server, its version and the extensions of the protocol that it has."""

    name: Literal["sealpress"]
    version: str
    extensions: list[str]


class ModelParameters(Struct):
    """What a bundle says of its model."""

    digest: str
    licence: str
    task: str


class ModelMetadata(Struct):
    """What a model takes and gives; -1 stands for a size that is open."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[Described]
    outputs: list[Described]
    parameters: ModelParameters


class ModelReady(Struct):
    """The model can be asked."""

    name: str
    ready: Literal[True]


class OutputParameters(Struct):
    """How many bytes behind the JSON are those of this output."""

    binary_data_size: int


class OutputTensor(Struct):
    """An output: its elements in `data`, or behind the JSON as bytes."""

    name: str
    datatype: str
    shape: list[int]
    parameters: OutputParameters | UnsetType = UNSET
    data: list[float | str | bool | None] | UnsetType = UNSET


class Carried(Struct):
    """What the answer is obliged to say."""

    attribution: _Attribution | UnsetType = UNSET
    ai_notice: _Notice | UnsetType = UNSET


class InferAnswer(Struct):
    """What a model gave."""

    model_name: str
    model_version: str
    outputs: list[OutputTensor]
    id: str | UnsetType = UNSET
    parameters: Carried | UnsetType = UNSET


class RepositoryModel(Struct):
    """A bundle, also one that is refused; then the reason is the code."""

    name: str
    version: str
    state: Literal["READY", "UNAVAILABLE"]
    reason: str


class Nothing(Struct):
    """It was done."""


class Record(Struct):
    """A record in the journal, by its hash, and its path up to the root of the tree."""

    record: str
    leaf: Base64
    path: list[Base64]


class Receipt(Struct):
    """What shows that calls are on record (docs/formats.md); `sealpress receipt verify` checks it."""

    format: Literal[1]
    records: list[Record]
    statement: Annotated[str, Meta(description="The head or the promise that was signed.")]
    certificate: Annotated[str, Meta(description="By which the root vouches for the key that signed.")]


class Problem(Struct, kw_only=True):
    """Every refusal and every error (RFC 9457)."""

    type: Literal["about:blank"]
    title: str
    status: int
    detail: Annotated[str, Meta(description="What is the case here. Nothing that was sent is repeated.")]
    code: Annotated[str, Meta(description="A stable code: docs/errors.md lists them.")]
    hint: Annotated[str, Meta(description="What can be done about it.")]
    findings: Annotated[list[Finding] | UnsetType, Meta(description="From the gate: what each rule said.")] = UNSET


class OpenAIError(Struct):
    """An error as OpenAI's clients read it."""

    message: str
    type: str
    param: str | None
    code: str


class OpenAIProblem(Problem, kw_only=True):
    """The same with the error of OpenAI's protocol."""

    error: OpenAIError


class OIPProblem(Problem, kw_only=True):
    """The same with the error of the Open Inference Protocol."""

    error: str
