"""How an answer of a model that generates is written in OpenAI's protocol, whole and event by event.

Beside what OpenAI has: `seed`, which with the same prompt, model and sampling gives the same text; what the answer has
to say (`attribution`, `ai_notice`); with its end the `mark`, which states that a model wrote it, and how often personal
data were `found` in it; and in the last event of a stream the `receipt`, which otherwise is a header.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from base64 import urlsafe_b64encode
from collections.abc import Sequence
from typing import Any, ClassVar

import msgspec

from serve.answering import Piece
from serve.obligations import carried
from toolkit.generating import Stream
from toolkit.runtime.generation import Logprob

__all__ = ["Chatted", "Continued", "Written"]

LEAST = -9999.0  # what OpenAI writes for a token that has no probability: JSON has no infinity


class Written(ABC):
    """What both routes have in common. `usage`: an event before the end of a stream tells it."""

    prefix: ClassVar[str]
    kinds: ClassVar[tuple[str, str]]  # of a whole answer, and of an event

    def __init__(self, model: str, digest: str, *, streamed: bool, usage: bool) -> None:
        self.streamed = streamed
        self._usage = usage
        self._made = int(time.time())
        self._model = model
        self._digest = digest
        self._head: dict[str, Any] = {}
        self._once: dict[str, Any] = {}

    def whole(self, stream: Stream, chunks: Sequence[Piece]) -> bytes:
        """The answer, once it is whole."""
        logprobs = [one for chunk in chunks for one in chunk.logprobs]
        choice = {
            "index": 0,
            **self._said(stream.text),
            "logprobs": self._logs(logprobs),
            "finish_reason": chunks[-1].finish,
        }
        content = {**self._common(stream, 0), "choices": [choice], "usage": _used(stream)}
        content |= {**_beside(stream), **_marked(stream)}
        return msgspec.json.encode(content)

    def first(self, stream: Stream) -> None:
        """Before the first event, which says what goes with all of them."""
        self._head = self._common(stream, 1)
        if self._usage:
            self._head["usage"] = None
        self._once = _beside(stream)
        self._stream = stream

    def event(self, chunk: Piece, receipt: bytes | None) -> bytes:
        """A piece as an event; none where there is nothing to say yet. The receipt is there with the last piece."""
        beside, self._once = self._once, {}
        if not (chunk.text or chunk.logprobs or chunk.finish or beside):
            return b""
        choice = {
            "index": 0,
            **self._piece(chunk.text, begins=bool(beside)),
            "logprobs": self._logs(chunk.logprobs),
            "finish_reason": chunk.finish,
        }
        shown = _shown(self._stream, receipt) if receipt is not None and not self._usage else {}
        return _event({**self._head, "choices": [choice], **beside, **shown})

    def last(self, stream: Stream, receipt: bytes) -> bytes:
        """The event behind all pieces, where the client asked for one: others do not expect an event without any."""
        if not self._usage:
            return b""
        return _event({**self._head, "choices": [], "usage": _used(stream), **_shown(stream, receipt)})

    def _common(self, stream: Stream, kind: int) -> dict[str, Any]:
        return {
            "id": f"{self.prefix}-{stream.call}",
            "object": self.kinds[kind],
            "created": self._made,
            "model": self._model,
            "system_fingerprint": self._digest[:16],
        }

    @abstractmethod
    def _said(self, text: str) -> dict[str, Any]: ...

    @abstractmethod
    def _piece(self, text: str, *, begins: bool) -> dict[str, Any]: ...

    @abstractmethod
    def _logs(self, logprobs: Sequence[Logprob]) -> dict[str, Any] | None: ...


class Chatted(Written):
    """An answer to the turns of a chat."""

    prefix = "chatcmpl"
    kinds = ("chat.completion", "chat.completion.chunk")

    def _said(self, text: str) -> dict[str, Any]:
        return {"message": {"role": "assistant", "content": text}}

    def _piece(self, text: str, *, begins: bool) -> dict[str, Any]:
        return {"delta": {"role": "assistant", "content": text} if begins else {"content": text}}

    def _logs(self, logprobs: Sequence[Logprob]) -> dict[str, Any] | None:
        if not logprobs:
            return None
        content = [
            {**_token(one.token, one.logprob), "top_logprobs": [_token(*top) for top in one.top]} for one in logprobs
        ]
        return {"content": content}


class Continued(Written):
    """An answer to a text."""

    prefix = "cmpl"
    kinds = ("text_completion", "text_completion")
    _at = 0  # characters of the tokens that were told of

    def _said(self, text: str) -> dict[str, Any]:
        return {"text": text}

    def _piece(self, text: str, *, begins: bool) -> dict[str, Any]:
        return {"text": text}

    def _logs(self, logprobs: Sequence[Logprob]) -> dict[str, Any] | None:
        if not logprobs:
            return None
        offsets = []
        for one in logprobs:
            offsets.append(self._at)
            self._at += len(one.token)
        return {
            "tokens": [one.token for one in logprobs],
            "token_logprobs": [_finite(one.logprob) for one in logprobs],
            "top_logprobs": [{token: _finite(value) for token, value in one.top} for one in logprobs],
            "text_offset": offsets,
        }


def _event(content: dict[str, Any]) -> bytes:
    return b"data: %b\n\n" % msgspec.json.encode(content)


def _shown(stream: Stream, receipt: bytes) -> dict[str, Any]:
    return {**_marked(stream), "receipt": urlsafe_b64encode(receipt).decode()}


def _marked(stream: Stream) -> dict[str, Any]:
    return {"mark": stream.mark, **({"found": stream.found} if stream.found else {})}


def _beside(stream: Stream) -> dict[str, Any]:
    return {"seed": stream.seed, **carried(stream.obligations)}


def _used(stream: Stream) -> dict[str, Any]:
    usage = stream.usage
    return {
        "prompt_tokens": usage.get("prompt_tokens", 0),
        "completion_tokens": usage.get("answer_tokens", 0),
        "total_tokens": usage.get("tokens", 0),
        "prompt_tokens_details": {"cached_tokens": usage.get("cached_tokens", 0)},
    }


def _token(token: str, logprob: float) -> dict[str, Any]:
    # a piece of a character has bytes that its text does not tell
    whole = list(token.encode()) if "\N{REPLACEMENT CHARACTER}" not in token else None
    return {"token": token, "logprob": _finite(logprob), "bytes": whole}


def _finite(logprob: float) -> float:
    return max(LEAST, logprob)
