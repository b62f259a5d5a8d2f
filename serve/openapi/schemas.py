"""The schemas of bodies: those that come in are mirrored from the Structs that read them, with a word on each field."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import Annotated, Any, Literal

import msgspec
from msgspec import NODEFAULT, UNSET, Meta, Struct, UnsetType, defstruct
from msgspec.structs import fields

from serve.protocols import completions, openai, predict
from serve.protocols.forms import Said
from serve.protocols.oip import inference, routes
from toolkit.runtime.chatting import MAX_TURNS
from toolkit.runtime.readers import MAX_TEXTS

__all__ = [
    "CONTEXT",
    "ChatRequest",
    "CompletionRequest",
    "EmbeddingsRequest",
    "IndexRequest",
    "InferRequest",
    "LoadRequest",
    "PredictRequest",
    "components",
    "mirrored",
    "reference",
]

CONTEXT = {
    "purpose": "What the call is for: a purpose that the settings of the box declare.",
    "legal_basis": "The legal basis: consent, contract, legal_obligation, vital_interests, public_task or "
    "legitimate_interests.",
    "consent": "The receipt of a consent on record.",
    "subject": "Whom the data is about. It is recorded under a pseudonym.",
    "region": "Where the data belongs, as a country code.",
    "data": "Categories of personal data that the caller knows to be in it, such as health.",
    "override": "What two persons opened for a time.",
}
_PREFIX = "#/components/schemas/"
_CLASSES = "How many classes of each item are wanted, the best first."
_MODEL = "The name under which a model is served: NAME, NAME@VERSION or an alias."


def mirrored(of: type[Struct], name: str, text: str, /, **said: str | tuple[Any, str]) -> type[Struct]:
    """A Struct with the fields of another, under a name and with a text of its own.

    `said` has a word on every field, with another type where the document says more than the Struct does. Raises
    ValueError for a field that has none, and for a word on no field.
    """
    found = fields(of)
    if {field.name for field in found} != said.keys():
        raise ValueError(f"{of.__name__} has other fields than are described")
    made: list[tuple[str, Any] | tuple[str, Any, Any]] = []
    for field in found:
        words = said[field.name]
        kind, word = words if isinstance(words, tuple) else (field.type, words)
        if field.required:
            made.append((field.name, Annotated[kind, Meta(description=word)]))
        elif isinstance(field.default, msgspec.Raw):
            made.append((field.name, Annotated[kind | UnsetType, Meta(description=word)], UNSET))
        else:
            default = (
                msgspec.field(default_factory=field.default_factory) if field.default is NODEFAULT else field.default
            )
            made.append((field.name, Annotated[kind, Meta(description=word)], default))
    return defstruct(name, made, kw_only=True, forbid_unknown_fields=True, namespace={"__doc__": text})


_Context = mirrored(
    Said, "Context", "Under what a call is made. A header of the same meaning has to say the same.", **CONTEXT
)

EmbeddingsRequest = mirrored(
    openai.Body,
    "EmbeddingsRequest",
    "What OpenAI's clients send for embeddings; any other field is refused.",
    model=_MODEL,
    input=(
        Annotated[str, Meta(min_length=1)]
        | Annotated[list[Annotated[str, Meta(min_length=1)]], Meta(min_length=1, max_length=MAX_TEXTS)],
        "A text, or several. Token ids are not taken.",
    ),
    encoding_format="Lists of numbers, or the base64 of 32-bit floats, the lowest byte first.",
    dimensions="Those that the model gives: embeddings are not made shorter.",
    user="Taken, and kept nowhere.",
    metadata=(_Context, "The context of the call."),
)
_SAMPLED: dict[str, str | tuple[Any, str]] = {
    "model": _MODEL,
    "max_tokens": "The most tokens of the answer: with the prompt at most the context. Without it 256, or as many as "
    "there is room for.",
    "temperature": "0, the default, takes the most probable token each time; at most 100.",
    "top_p": "Of the fewest tokens that have so much of the probability together; above 0, to 1.",
    "top_k": "Of so many most probable tokens; 0: of all. Not of OpenAI.",
    "min_p": "Of the tokens that have so much of the probability of the first; 0 to 1. Not of OpenAI.",
    "repetition_penalty": "Divides the logits of tokens that were there before; above 0, to 100. Not of OpenAI.",
    "regex": "The whole answer matches this regular expression; not beside a schema, `choice` or `stop`. Of our own.",
    "choice": "The answer is one of these texts. Not of OpenAI.",
    "lookup": "What stood before is tried ahead: faster where an answer repeats its prompt, and the same text. Refused "
    "where the box or the model does not allow it. Not of OpenAI.",
    "seed": "0 to 2^53: the same gives the same text. Without it one is drawn, and stands in the answer.",
    "stop": "The answer ends before the first of these texts; 16 at most.",
    "stream": "As server-sent events, while it is made.",
    "stream_options": (
        mirrored(
            completions.StreamOptions,
            "StreamOptions",
            "What a stream tells beside the answer.",
            include_usage="One more event before the end, with the tokens that were used.",
        )
        | None,
        "What a stream tells beside the answer.",
    ),
    "n": "1: there is one answer.",
    "presence_penalty": "0: it is not done here; repetition_penalty is.",
    "frequency_penalty": "0: it is not done here; repetition_penalty is.",
    "logit_bias": "Empty: it is not done here.",
    "user": "Taken, and kept nowhere.",
    "metadata": (_Context, "The context of the call."),
}
_Part = mirrored(
    completions.Part, "ChatPart", "A part of what somebody says.", type="Only texts are taken.", text="The text."
)
_Message = mirrored(
    completions.Message,
    "ChatMessage",
    "A turn.",
    role="system or developer, which may stand first; then user and assistant in turn, a user first and last.",
    content=(str | list[_Part], "A text, or its parts."),  # type: ignore[valid-type] # made at run time
    refusal="null: where a client sends back what it was answered.",
)
_Turns = Annotated[list[_Message], Meta(min_length=1, max_length=MAX_TURNS)]  # type: ignore[valid-type] # made at run time
ChatRequest = mirrored(
    completions.ChatBody,
    "ChatRequest",
    "What OpenAI's clients send for a chat; any other field is refused, and so is one that asks for what is not done.",
    **_SAMPLED,
    messages=(_Turns, "The turns of the chat."),
    max_completion_tokens="The newer name of max_tokens.",
    logprobs="With each token the logarithm of its probability.",
    top_logprobs="And those of so many most probable tokens; 20 at most.",
    response_format=(
        mirrored(
            completions.Format,
            "ResponseFormat",
            "How an answer is built.",
            type="As the model has it, as an object of JSON, or as one that a schema allows.",
            json_schema=(
                mirrored(
                    completions.JsonSchema,
                    "NamedSchema",
                    "A JSON schema, with its name.",
                    name="What it is called.",
                    description="What it is for; the model is not told.",
                    schema="What the answer keeps to; an object, where nothing is said.",
                    strict="Answers keep to it in any case.",
                )
                | None,
                "The schema, with the type json_schema.",
            ),
        )
        | None,
        "How an answer is built.",
    ),
    tools=(Annotated[list[Any], Meta(max_length=0)] | None, "Empty: a model calls no tools here."),
    tool_choice=(Literal["none", "auto"] | None, "Without tools there is nothing to choose."),
    store="Not true: an answer is on record as the rules of the box have it.",
)
CompletionRequest = mirrored(
    completions.CompletionBody,
    "CompletionRequest",
    "What OpenAI's clients send for a text that is gone on with; any other field is refused, and so is one that asks "
    "for what is not done.",
    **_SAMPLED,
    prompt=(
        Annotated[str, Meta(min_length=1)]
        | Annotated[list[Annotated[str, Meta(min_length=1)]], Meta(min_length=1, max_length=1)],
        "The text. Token ids are not taken.",
    ),
    logprobs="With each token the logarithm of its probability, and those of so many most probable ones; 20 at most.",
    echo="Not true: the answer does not begin with the prompt.",
    best_of="1: there is one answer.",
    suffix="Empty: nothing can be put behind the answer.",
)
PredictRequest = mirrored(
    predict.Body,
    "PredictRequest",
    "What any model is asked; any other field is refused.",
    inputs=(
        Any,
        "A text or a list of texts; an image or a list of images, each the base64 of its file; or for a model of "
        "tensors an object of nested lists, by name.",
    ),
    parameters=(
        mirrored(predict.Parameters, "PredictParameters", "The context, and more.", top_k=_CLASSES, **CONTEXT),
        "How it is asked.",
    ),
)
_Input = mirrored(
    inference.Input,
    "InferInput",
    "A tensor: its elements in `data`, or behind the JSON as bytes.",
    name="`text`, `image`, or the name of a tensor.",
    shape="How many elements in each dimension.",
    datatype="BYTES for texts and images; otherwise BOOL, UINT8 to UINT64, INT8 to INT64, FP16, FP32 or FP64.",
    parameters=(
        mirrored(
            inference.InputParameters,
            "InferInputParameters",
            "How the elements come.",
            binary_data_size="How many bytes behind the JSON are those of this tensor.",
        ),
        "How the elements come.",
    ),
    data=(list[Any], "The elements, flat or nested as the shape says; an image is the base64 of its file."),
)
_Output = mirrored(
    inference.Output,
    "InferRequestedOutput",
    "An output that is wanted.",
    name="Its name, as the metadata of the model have it.",
    parameters=(
        mirrored(
            inference.OutputParameters,
            "InferOutputParameters",
            "How it is wanted.",
            binary_data="As bytes behind the JSON.",
            classification=_CLASSES,
        ),
        "How it is wanted.",
    ),
)
# made at run time, so no type checker knows them
_Inputs = Annotated[list[_Input], Meta(min_length=1, max_length=inference.MAX_TENSORS)]  # type: ignore[valid-type] # see above
_Outputs = Annotated[list[_Output], Meta(max_length=inference.MAX_TENSORS)]  # type: ignore[valid-type] # see above
InferRequest = mirrored(
    inference.Header,
    "InferRequest",
    "An inference request of the Open Inference Protocol; any other field is refused.",
    id="Comes back with the answer.",
    parameters=(
        mirrored(
            inference.Parameters,
            "InferParameters",
            "The context, and more.",
            binary_data_output="All outputs as bytes behind the JSON.",
            **CONTEXT,
        ),
        "How it is asked.",
    ),
    inputs=(_Inputs, "The inputs of the model."),
    outputs=(_Outputs, "Those that are wanted; without it, all."),
)
IndexRequest = mirrored(routes.IndexBody, "IndexRequest", "What is to be listed.", ready="Only what can be asked.")
LoadRequest = mirrored(
    routes.LoadBody,
    "LoadRequest",
    "How a model is loaded or unloaded. No configuration and no file comes this way: a bundle is signed as a whole.",
    parameters=(
        mirrored(
            routes.LoadParameters,
            "LoadParameters",
            "What Triton's clients send.",
            unload_dependents="Taken, and without effect: no model depends on another.",
        ),
        "What Triton's clients send.",
    ),
)


def components(types: Iterable[Any]) -> dict[str, Any]:
    """The schemas of all Structs that these types are made of, by name."""
    _, found = msgspec.json.schema_components([*types], ref_template=_PREFIX + "{name}")
    return found


@cache
def reference(kind: Any) -> dict[str, Any]:
    """The schema of a type, with references to components."""
    (found,), _ = msgspec.json.schema_components([kind], ref_template=_PREFIX + "{name}")
    return found
