"""OpenAI's protocol for models that generate: chat and completions, whole or as a stream.

A field that is not known is refused, and so is one that is known and asks for what is not done here: none is let fall.

Source: the OpenAI API reference, Chat and Completions (https://platform.openai.com/docs/api-reference/chat).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

import msgspec
from litestar import Request, post
from litestar.handlers import HTTPRouteHandler
from litestar.types import ASGIApp
from msgspec import Struct

from serve.answering import Prompt
from serve.problems import RequestError
from serve.protocols.completed import Chatted, Continued, Written
from serve.protocols.forms import Form, Said, bounded, inflated
from serve.service import Service, admission_to
from toolkit.bundle import BundleManifest
from toolkit.runtime.sampling import Sampling

__all__ = ["ChatBody", "Completing", "CompletionBody", "read_chat", "read_completion", "routes"]

MAX_TOKENS = 256  # of an answer, where nothing is said and the context has room for so many
MOST = 20_000  # strings, lists and objects of a body


class StreamOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`include_usage`: one more event before the end, with the tokens that were used."""

    include_usage: bool = False


class JsonSchema(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A schema with its name. Answers keep to it whether it is called strict or not."""

    name: str
    description: str | None = None
    schema: dict[str, Any] | None = None
    strict: bool | None = None


class Format(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How an answer is to be built."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None

    def schema(self) -> dict[str, Any] | None:
        """What an answer keeps to. Raises RequestError "request_type"."""
        if (self.type == "json_schema") != (self.json_schema is not None):
            raise RequestError("request_type", "`json_schema` goes with the type json_schema")
        if self.json_schema is not None:
            return self.json_schema.schema or _ANYTHING
        return _ANYTHING if self.type == "json_object" else None


class Sampled(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What both routes take. `top_k`, `min_p`, `repetition_penalty`, `regex`, `choice` and `lookup` are ours."""

    model: str
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None
    regex: str | None = None
    choice: list[str] | None = None
    lookup: bool | None = None
    seed: int | None = None
    stop: str | list[str] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    logit_bias: dict[str, float] | None = None
    user: str | None = None
    metadata: Said = Said()


class Part(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A part of what somebody says."""

    type: Literal["text"]
    text: str


class Message(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A turn. `refusal` is there where a client sends back what it was answered, and holds nothing."""

    role: str
    content: str | list[Part]
    refusal: None = None

    def turn(self) -> dict[str, str]:
        text = self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)
        # the name that newer clients give to a system text
        return {"role": "system" if self.role == "developer" else self.role, "content": text}


class ChatBody(Sampled, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of POST /v1/chat/completions."""

    messages: list[Message]
    max_completion_tokens: int | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    response_format: Format | None = None
    tools: list[Any] | None = None
    tool_choice: Any = None
    store: bool | None = None


class CompletionBody(Sampled, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of POST /v1/completions."""

    prompt: msgspec.Raw
    logprobs: int | None = None
    echo: bool | None = None
    best_of: int | None = None
    suffix: str | None = None


class Completing:
    """What a client asks. `user` is taken and kept nowhere: the subject of a call has a field of its own."""

    version = None

    def __init__(
        self,
        body: Sampled,
        prompt: Prompt,
        written: Callable[..., Written],
        max_tokens: int | None,
        logprobs: int | None,
        schema: dict[str, Any] | None = None,
    ) -> None:
        self.model = body.model
        self.said: Mapping[str, Any] = body.metadata.said()
        self._body = body
        self._prompt = prompt
        self._written = written
        self._max_tokens = max_tokens
        self._logprobs = logprobs
        self._schema = schema

    def prompt(self, manifest: BundleManifest) -> Prompt:
        """Raises RequestError: request_task, request_chat."""
        if not manifest.generation:
            raise RequestError("request_task", "the model does not generate")
        if not isinstance(self._prompt, str) and manifest.generation.chat is None:
            raise RequestError("request_chat", "the model knows no turns of a chat")
        return self._prompt

    def sampling(self, room: int) -> Sampling:
        """Raises GenerationError "generation_sampling", "generation_constraint"."""
        body = self._body
        asked = {
            "temperature": body.temperature,
            "top_p": body.top_p,
            "top_k": body.top_k,
            "min_p": body.min_p,
            "repetition_penalty": body.repetition_penalty,
            "seed": body.seed,
            "stop": body.stop,
            "logprobs": self._logprobs,
            "schema": self._schema,
            "regex": body.regex,
            "choice": body.choice,
            "lookup": body.lookup,
        }
        most = min(MAX_TOKENS, room) if self._max_tokens is None else self._max_tokens
        return Sampling.checked(max_tokens=most, **{name: value for name, value in asked.items() if value is not None})

    def words(self, manifest: BundleManifest) -> Written:
        body = self._body
        usage = body.stream_options is not None and body.stream_options.include_usage
        return self._written(self.model, manifest.digest, streamed=bool(body.stream), usage=usage)


def read_chat(body: bytes, headers: Mapping[bytes, bytes]) -> Completing:
    """Raises RequestError: request_encoding, request_too_large, request_malformed, request_type, request_unsupported.
    InputError: input_too_large."""
    asked = _CHAT.read(bounded(inflated(body, headers), MOST))
    _must_be_done(asked)
    _neutral("tools", not asked.tools)
    _neutral("tool_choice", asked.tool_choice in (None, "none", "auto"))
    _neutral("store", not asked.store)
    limits = {limit for limit in (asked.max_tokens, asked.max_completion_tokens) if limit is not None}
    if len(limits) > 1:
        raise RequestError("request_type", "max_tokens and max_completion_tokens say different things")
    if asked.top_logprobs is not None and not asked.logprobs:
        raise RequestError("request_type", "top_logprobs goes with logprobs")
    logprobs = (asked.top_logprobs or 0) if asked.logprobs else None
    turns = [message.turn() for message in asked.messages]
    schema = None if asked.response_format is None else asked.response_format.schema()
    return Completing(asked, turns, Chatted, limits.pop() if limits else None, logprobs, schema)


def read_completion(body: bytes, headers: Mapping[bytes, bytes]) -> Completing:
    """Raises what `read_chat` raises, and RequestError: request_tokens."""
    asked = _COMPLETION.read(bounded(inflated(body, headers), MOST))
    _must_be_done(asked)
    _neutral("echo", not asked.echo)
    _neutral("best_of", asked.best_of in (None, 1))
    _neutral("suffix", not asked.suffix)
    written = bytes(asked.prompt).strip()
    if written.startswith(b"[") and written[1:].lstrip()[:1] in _NUMBERS:
        raise RequestError("request_tokens", "the prompt are token ids")
    prompt = _PROMPT.read(asked.prompt, "$.prompt")
    if isinstance(prompt, list):
        if len(prompt) != 1:
            raise RequestError("request_unsupported", "`prompt` with other than one text")
        (prompt,) = prompt
    return Completing(asked, prompt, Continued, asked.max_tokens, asked.logprobs)


def routes(service: Service) -> list[HTTPRouteHandler]:
    """POST /v1/chat/completions and /v1/completions."""
    admit = admission_to(service)

    @post("/v1/chat/completions", status_code=200, before_request=admit)
    async def chat(request: Request[Any, Any, Any]) -> ASGIApp:
        return await service.answer(request, read_chat)

    @post("/v1/completions", status_code=200, before_request=admit)
    async def completion(request: Request[Any, Any, Any]) -> ASGIApp:
        return await service.answer(request, read_completion)

    return [chat, completion]


def _must_be_done(asked: Sampled) -> None:
    """Raises RequestError "request_unsupported" for what is not done here."""
    _neutral("n", asked.n in (None, 1))
    _neutral("presence_penalty", not asked.presence_penalty)
    _neutral("frequency_penalty", not asked.frequency_penalty)
    _neutral("logit_bias", not asked.logit_bias)


def _neutral(field: str, neutral: bool) -> None:
    if not neutral:
        raise RequestError("request_unsupported", f"`{field}` with this value is not done here")


_ANYTHING: dict[str, Any] = {"type": "object"}
_NUMBERS = tuple(bytes([one]) for one in b"[-0123456789")
_NAMES = (*Sampled.__struct_fields__, *Said.__struct_fields__, "include_usage")
_CHAT: Form[ChatBody] = Form(
    ChatBody, *ChatBody.__struct_fields__, *_NAMES, "role", "content", "refusal", "type", "text",
    *Format.__struct_fields__, *JsonSchema.__struct_fields__,
)  # fmt: skip
_COMPLETION: Form[CompletionBody] = Form(CompletionBody, *CompletionBody.__struct_fields__, *_NAMES)
_PROMPT: Form[str | list[str]] = Form(str | list[str])
