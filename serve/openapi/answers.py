"""What the routes answer with. A test holds real answers to it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from policies.facts import Finding

__all__ = [
    "Alive",
    "Attribution",
    "Nothing",
    "Notice",
    "OIPProblem",
    "OpenAIProblem",
    "Prediction",
    "Problem",
    "Readiness",
    "Receipt",
    "Started",
]

Base64 = Annotated[str, Meta(extra_json_schema={"contentEncoding": "base64"})]
Attribution = Annotated[str, Meta(description="Model, parent and licence, where a rule wants them named.")]
Notice = Annotated[str, Meta(description="What persons are told of the system, where a rule wants it said.")]


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
    attribution: Attribution | UnsetType = UNSET
    ai_notice: Notice | UnsetType = UNSET


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
